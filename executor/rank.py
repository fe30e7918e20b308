"""The entry of one rank: set up torch, join the others, call the target, leave the result.

Run as `python -m executor.rank module:function FOLDER`, by our launcher, torchrun or srun.
"""

from __future__ import annotations

__all__ = ["main"]

import ctypes
import json
import os
import signal
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import torch
import torch.distributed as dist

from executor.context import Progress, RankContext

_TIMEOUT = timedelta(seconds=600)
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Joins the process group, calls the target and writes its result, whole or not at all."""
    target, folder = sys.argv[1], Path(sys.argv[2])
    _die_with_parent()
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    pinned = _pin(int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", ranks)))
    torch.set_num_threads(1)
    progress = Progress(folder / f"rank-{rank}.action")
    progress.at("joining the process group")
    dist.init_process_group("gloo", timeout=_TIMEOUT)
    context = RankContext(rank, ranks, torch.device("cpu"), folder.parent, progress, pinned)
    module, function = target.split(":")
    payload = json.loads((folder / "payload.json").read_text())
    result = getattr(import_module(module), function)(context, payload)
    unfinished = folder / f"rank-{rank}.json.part"
    unfinished.write_text(json.dumps(result))
    unfinished.rename(folder / f"rank-{rank}.json")
    dist.barrier()
    dist.destroy_process_group()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _pin(local_rank: int, local_ranks: int) -> bool:
    cores = sorted(os.sched_getaffinity(0))
    if os.environ.get("CHIMERA_PIN", "1") != "1" or local_ranks > len(cores):
        return False
    os.sched_setaffinity(0, {cores[local_rank]})
    return True


if __name__ == "__main__":
    main()
