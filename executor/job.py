"""A job: several cases run by one group of ranks, interleaved A B A B so that drift hits all alike."""

from __future__ import annotations

__all__ = ["run_job", "set_up"]

import gc
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist

from executor.cases import Job
from executor.context import RankContext
from executor.groups import Groups
from executor.journal import Journal
from executor.setup import Prepared, prepare
from executor.watching import watch

_JSON = dict[str, Any]
_LEAST_ROUNDS = 3


def run_job(context: RankContext, payload: Mapping[str, Any]) -> _JSON:
    """Runs a job on this rank.

    Returns per label: `cases` (iteration records, each with what disturbed it), `devices`,
    `peak_memory_bytes` and `memory` (see `executor.watching.Watched`), and `rss_bytes`, the process's
    peak. Completed iterations are also appended to the rank's journal while the job runs.
    """
    job = Job.from_payload(payload)
    prepared = set_up(context, job)
    journal = Journal(context)
    records: dict[str, list[_JSON]] = {case.label: [] for case in job.cases}
    gc.collect()
    gc.freeze()
    gc.disable()
    started = time.monotonic()
    for number in range(job.warmup + job.rounds):
        for item in prepared:
            if job.reset:
                item.reset()
            for _ in range(job.iterations if item.active else 0):
                record = item.iterate() | {"round": number - job.warmup}
                journal.add(item.case.label, record | item.labels())
                if number >= job.warmup:
                    records[item.case.label].append(record)
            gc.collect()
        if number - job.warmup + 1 >= _LEAST_ROUNDS and _time_is_up(started, job.seconds):
            break
    gc.enable()
    watched = {item.case.label: watch(item) for item in prepared if item.active and job.memory}
    journal.close()
    return {
        "cases": records,
        "devices": {item.case.label: item.schedule.devices for item in prepared},
        "compute": {item.case.label: "paced" if item.case.pace else "real" for item in prepared},
        "peak_memory_bytes": {label: found.peak_bytes for label, found in watched.items()},
        "memory": {label: asdict(found) for label, found in watched.items()},
        "rss_bytes": journal.peak_rss_bytes(),
    }


def _time_is_up(started: float, seconds: float | None) -> bool:
    """Whether any rank has used up its time: all must agree, or some would wait for ever. Collective."""
    if seconds is None:
        return False
    over = torch.tensor(float(time.monotonic() - started >= seconds))
    dist.all_reduce(over, op=dist.ReduceOp.MAX)
    return bool(over.item())


def set_up(context: RankContext, job: Job) -> list[Prepared]:
    """Every case made ready on this rank, communicators warm. Collective."""
    torch.manual_seed(job.seed)
    groups = Groups(context.device)
    groups.warm_up_messages()
    prepared = [prepare(context, job, case, groups) for case in job.cases]
    dist.barrier()
    return prepared
