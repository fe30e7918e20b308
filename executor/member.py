"""One rank at work: joins the others, calls the target, leaves the result or the reason there is none."""

from __future__ import annotations

__all__ = ["serve"]

import faulthandler
import json
import os
import socket
import time
from collections.abc import Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from executor.clock import clock_offset_ns
from executor.context import Progress, RankContext
from executor.environment import Membership
from pipeline.errors import ChimeraError, RunError

_DEADLINE_S = 600.0


def serve(target: str, payload: Mapping[str, Any], member: Membership, folder: Path, *, gather: bool) -> list[Any]:
    """Calls `target` ("module:function") as function(context, payload) in this process.

    With `gather` every rank gets the list of all results; without, each leaves its own in
    FOLDER/rank-<r>.json, whole or not at all. What goes wrong is left in rank-<r>.failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(member.variables())
    pinned = _pin(member)
    torch.set_num_threads(1)
    (folder / f"rank-{member.rank}.pid").write_text(str(os.getpid()))
    progress = Progress(folder / f"rank-{member.rank}.action")
    try:
        context = _join(member, folder, progress, pinned)
        module, function = target.split(":")
        result = getattr(import_module(module), function)(context, payload)
        progress.at("done, waiting for the others")
        results = _gathered(context, result) if gather else _leave(context, folder, result)
        dist.destroy_process_group()
    except BaseException as error:
        _confess(folder, member.rank, error)
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()
    return results


def _join(member: Membership, folder: Path, progress: Progress, pinned: bool) -> RankContext:
    deadline = float(os.environ.get("CHIMERA_DEADLINE_S", _DEADLINE_S))
    # Last resort for a rank that no launcher of ours watches: a traceback of where it hung, then the end.
    faulthandler.dump_traceback_later(deadline, exit=True)
    device = _device(member)
    if member.local_ranks == member.ranks:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    progress.at("joining the process group")
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=timedelta(seconds=deadline))
    progress.at("comparing clocks")
    offset = clock_offset_ns(socket.gethostname())
    progress.at("preparing")
    return RankContext(member.rank, member.ranks, device, folder.parent, progress, pinned, offset)


def _device(member: Membership) -> torch.device:
    wanted = os.environ.get("CHIMERA_DEVICE", "cpu")
    if wanted == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if member.local_ranks > count:
        raise RunError(
            f"device {wanted!r} for {member.local_ranks} ranks on this host",
            f"it has {count} GPUs, and a GPU cannot hold two ranks of one NCCL communicator",
            "use fewer ranks or --device cpu",
        )
    torch.cuda.set_device(member.local_rank)
    return torch.device("cuda", member.local_rank)


def _pin(member: Membership) -> bool:
    """Pins this rank to a core of its own, if there is one for every rank of the host."""
    cores = sorted(os.sched_getaffinity(0))
    if os.environ.get("CHIMERA_PIN", "1") != "1" or member.local_ranks > len(cores):
        return False
    os.sched_setaffinity(0, {cores[member.local_rank]})
    return True


def _gathered(context: RankContext, result: Any) -> list[Any]:
    results: list[Any] = [None] * context.ranks
    dist.all_gather_object(results, result)
    return results


def _leave(context: RankContext, folder: Path, result: Any) -> list[Any]:
    unfinished = folder / f"rank-{context.rank}.json.part"
    unfinished.write_text(json.dumps(result))
    unfinished.rename(folder / f"rank-{context.rank}.json")
    dist.barrier()
    return []


def _confess(folder: Path, rank: int, error: BaseException) -> None:
    """Leaves when and why this rank failed: the first to fail is the cause, the others follow from it."""
    reason: dict[str, Any] = {"at_ns": time.monotonic_ns(), "error": f"{type(error).__name__}: {error}"}
    if isinstance(error, ChimeraError):
        reason |= {"exit_status": error.exit_status, "parts": [error.given, error.derived, error.remedy]}
    unfinished = folder / f"rank-{rank}.failed.part"
    unfinished.write_text(json.dumps(reason))
    unfinished.rename(folder / f"rank-{rank}.failed")
