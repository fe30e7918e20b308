"""What the launcher's tests let the ranks do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist

from executor.context import RankContext


def echo(context: RankContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    total = torch.tensor([context.rank + 1.0])
    dist.all_reduce(total)
    return {"rank": context.rank, "sum": float(total), "given": payload["text"], "pid": os.getpid()}


def fail(context: RankContext, payload: Mapping[str, Any]) -> None:
    context.progress.at("1B3")
    if context.rank == payload["rank"]:
        raise ValueError("the reason")
    dist.barrier()


def hang(context: RankContext, payload: Mapping[str, Any]) -> None:
    context.progress.at(f"{context.rank}F0")
    if context.rank == payload["rank"]:
        os.kill(os.getpid(), getattr(signal, payload["signal"]))
    dist.barrier()
    time.sleep(60)
