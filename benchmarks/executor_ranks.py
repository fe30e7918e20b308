"""What a rank does to time our executor and torch's own schedules in turns, on the same layers and data."""

from __future__ import annotations

__all__ = ["take_turns"]

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from chimera.executor.jobs.cases import Job
from chimera.executor.jobs.job import set_up
from chimera.executor.jobs.prepare import Prepared
from chimera.executor.modules import loss_of, stage_module
from chimera.executor.ranks.context import RankContext

_TORCH = {"torch 1F1B": Schedule1F1B, "torch GPipe": ScheduleGPipe}
Turn = Callable[[], tuple[int, int]]
"""One iteration: when it began and ended on this host's monotonic clock"""


def take_turns(context: RankContext, payload: Mapping[str, Any]) -> dict[str, list[tuple[int, int]]]:
    """Per contestant, begin and end in nanoseconds of every iteration of this rank.

    Contestants are the job's cases and torch's schedules; they take turns, `rounds` times after
    `warmup`. An iteration is the same for all: barrier, micro-batches through the pipeline,
    optimizer step, gradients cleared.
    """
    job = Job.from_payload(payload)
    prepared = set_up(context, job)
    turns: dict[str, Turn] = {item.case.label: _ours(item) for item in prepared}
    turns |= {name: _theirs(prepared[0], kind) for name, kind in _TORCH.items()}
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in turns}
    gc.disable()
    for number in range(job.warmup + job.rounds):
        for name, turn in turns.items():
            times = turn()
            if number >= job.warmup:
                found[name].append(times)
            gc.collect()
    gc.enable()
    return found


def _ours(item: Prepared) -> Turn:
    def _turn() -> tuple[int, int]:
        record = item.iterate()
        return record["begin_ns"], record["end_ns"]

    return _turn


def _theirs(item: Prepared, kind: type[Any]) -> Turn:
    """One of torch's schedules over stages of the same weights, with torch's fused optimizer."""
    schedule, rank = item.schedule, item.place.device
    module = stage_module(item.config, item.cuts[rank], seed=item.job.seed, dtype=item.dtype)
    stage = PipelineStage(module, rank, schedule.stages, torch.device("cpu"))
    runtime = kind(stage, schedule.microbatches, loss_fn=lambda output, target: loss_of(item.config, output, target))
    optimizer = torch.optim.AdamW(module.parameters(), lr=item.job.learning_rate, fused=True)

    def _turn() -> tuple[int, int]:
        batch = item.batch()
        inputs = (torch.cat([each.inputs for each in batch]),) if rank == 0 else ()
        last = rank == schedule.stages - 1
        targets = {"target": torch.cat([each.targets for each in batch]), "losses": []} if last else {}
        dist.barrier()
        begin = time.monotonic_ns()
        runtime.step(*inputs, **targets)
        optimizer.step()
        optimizer.zero_grad()
        return begin, time.monotonic_ns()

    return _turn
