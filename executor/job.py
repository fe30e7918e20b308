"""A job: several cases run by one group of ranks, interleaved A B A B so that drift hits all alike."""

from __future__ import annotations

__all__ = ["Case", "Job", "run_job"]

import gc
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist

from executor.context import RankContext
from executor.groups import Groups
from executor.journal import Journal
from executor.memory import watch
from executor.setup import Prepared, prepare

_JSON = dict[str, Any]
_LEAST_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One schedule to run, as its JSON document, on `width` data-parallel copies of the pipeline."""

    label: str
    schedule: _JSON
    microbatch_size: int
    width: int = 1
    partition: tuple[int, ...] | None = None
    """layers per stage; None: the default partition of the model"""
    pace: tuple[_JSON, ...] | None = None
    """fields of `executor.paced.Pace` per stage; None: real compute"""


@dataclass(frozen=True, slots=True)
class Job:
    """Cases of one model; each round runs `iterations` of every case, after `warmup` rounds.

    The rounds end early once `seconds` have passed. Iteration i of every case sees the same mini-batch. With `reset` a case's weights return to
    their initial values before each round. `memory` adds one untimed iteration of each case that
    watches the allocator.
    """

    model: _JSON
    cases: tuple[Case, ...]
    rounds: int = 1
    iterations: int = 1
    warmup: int = 1
    seed: int = 0
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    dtype: str = "float32"
    memory: bool = True
    reset: bool = False
    seconds: float | None = None
    """no further round after so long (at least three are run); None: all rounds"""

    def payload(self) -> _JSON:
        """The job as the JSON-able payload of `run_job`."""
        return asdict(self)

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Job:
        """The job that `payload` wrote."""
        return cls(**{**payload, "cases": tuple(Case(**case) for case in payload["cases"])})


def run_job(context: RankContext, payload: Mapping[str, Any]) -> _JSON:
    """Runs a job on this rank.

    Returns per label: `cases` (iteration records, each with what disturbed it), `devices`,
    `peak_memory_bytes` and `memory` (see `executor.memory.Watched`), and `rss_bytes`, the process's
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
