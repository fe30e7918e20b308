"""One rank at work: joins the others, calls the target, leaves the result or the reason there is none."""

from __future__ import annotations

__all__ = ["serve"]

import json
import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]

from chimera.executor.ranks.clock import clock_offset_ns
from chimera.executor.ranks.context import RankContext
from chimera.executor.ranks.environment import Membership
from chimera.executor.ranks.failure import confess, explained
from chimera.executor.ranks.interface import interface_towards
from chimera.executor.ranks.meeting import meeting_point
from chimera.executor.ranks.progress import Progress
from chimera.executor.ranks.versions import agree
from chimera.executor.ranks.watchdog import watched
from chimera.pipeline.errors import InputError, RunError
from chimera.pipeline.files.atomic_file import write_text

_DEADLINE_S = 600.0
_LAUNCHES = count()
_AFTER_LAUNCHER = 2.0
"""a rank's own deadline in units of its launcher's, which should be the one to speak"""


def serve(target: str, payload: Mapping[str, Any], member: Membership, folder: Path, *, gather: bool) -> list[Any]:
    """Calls `target` ("module:function") as function(context, payload) in this process.

    With `gather` every rank gets the list of all results; without, each leaves its own in
    FOLDER/rank-<r>.json, whole or not at all. What goes wrong is left in rank-<r>.failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(member.variables())
    pinned = _pin(member)
    torch.set_num_threads(1)
    for stale in ("failed", "json"):  # of an earlier run in this folder
        (folder / f"rank-{member.rank}.{stale}").unlink(missing_ok=True)
    (folder / f"rank-{member.rank}.pid").write_text(str(os.getpid()))
    deadline_s = float(os.environ.get("CHIMERA_DEADLINE_S", _DEADLINE_S)) * (1.0 if gather else _AFTER_LAUNCHER)
    try:
        progress = Progress(folder / f"rank-{member.rank}.action")
        with watched(progress, folder, member.rank, deadline_s):
            context = _join(member, folder, progress, pinned, deadline_s)
            module, function = target.split(":")
            result = getattr(import_module(module), function)(context, payload)
            progress.at("done, waiting for the others")
            results = _gathered(context, result) if gather else _leave(context, folder, result)
            dist.destroy_process_group()
    except BaseException as error:
        if gather and isinstance(error, Exception):
            told = explained(error, member, folder)
            confess(folder, member.rank, told)
            raise told from error
        confess(folder, member.rank, error)
        raise
    return results


def _join(member: Membership, folder: Path, progress: Progress, pinned: bool, deadline_s: float) -> RankContext:
    device = _device(member)
    one_host = member.local_ranks == member.ranks
    if interface := "lo" if one_host else interface_towards(member.address, member.port):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    progress.at("joining the process group")
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    # Several communicators on one GPU are safe if NCCL (2.26 on) starts their kernels in the order we issue them.
    os.environ.setdefault("NCCL_LAUNCH_ORDER_IMPLICIT", "1")
    timeout = timedelta(seconds=deadline_s)
    store = PrefixStore(f"launch-{next(_LAUNCHES)}", meeting_point(member, folder, deadline_s))
    store.set_timeout(timeout)
    agree(store, member.rank, member.ranks)
    dist.init_process_group(
        backend,
        store=store,
        rank=member.rank,
        world_size=member.ranks,
        timeout=timeout,
        device_id=None if device.type == "cpu" else device,
    )
    progress.at("comparing clocks")
    offset = clock_offset_ns(socket.gethostname())
    progress.at("preparing")
    batched = device.type != "cpu" or os.environ.get("CHIMERA_MESSAGES") == "batched"
    return RankContext(member.rank, member.ranks, device, folder.parent, progress, pinned, offset, batched)


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
    try:
        write_text(folder / f"rank-{context.rank}.json", json.dumps(result))
    except InputError as error:  # the launcher could write there when it started
        raise RunError(error.given, error.derived, "make room, or give another output folder") from error
    dist.barrier()
    return []
