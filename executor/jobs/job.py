"""A job: several cases run by one group of ranks, interleaved A B A B so that drift hits all alike."""

from __future__ import annotations

__all__ = ["run_job", "set_up"]

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist

from chimera.executor.iteration.background import yield_to_compute
from chimera.executor.iteration.groups import Groups
from chimera.executor.iteration.record import Records
from chimera.executor.jobs.cases import Job
from chimera.executor.jobs.checkpoint import Checkpoints
from chimera.executor.jobs.evaluation import Score, evaluate
from chimera.executor.jobs.journal import Journal
from chimera.executor.jobs.prepare import Prepared, prepare
from chimera.executor.jobs.watching import watch
from chimera.executor.ranks.context import RankContext

_JSON = dict[str, Any]
_LEAST_ROUNDS = 3


def run_job(context: RankContext, payload: Mapping[str, Any]) -> _JSON:
    """Runs a job on this rank.

    Returns per label: `cases` (iteration records, each with what disturbed it; spans and messages of
    those that `detailed` keeps), `scores` (this rank's part of an `chimera.executor.jobs.evaluation.Score`, None
    where nothing is scored), `devices`, `peak_memory_bytes` and `memory` (see
    `chimera.executor.jobs.watching.Watched`), and `rss_bytes`, the process's peak. Completed iterations are also
    appended to the rank's journal while the job runs. What was done before a resumed checkpoint is
    not in the records.
    """
    job = Job.from_payload(payload)
    prepared = set_up(context, job)
    journal = Journal(context)
    with _collecting_between_cases():
        records = _rounds(context, job, prepared, journal)
    scores = {item.case.label: _score(item) for item in prepared}
    watched = {item.case.label: watch(item) for item in prepared if item.active and job.memory}
    journal.close()
    return {
        "cases": records,
        "scores": scores,
        "devices": {item.case.label: item.schedule.devices for item in prepared},
        "compute": {item.case.label: "paced" if item.case.pace else "real" for item in prepared},
        "peak_memory_bytes": {label: found.peak_bytes for label, found in watched.items()},
        "memory": {label: asdict(found) for label, found in watched.items()},
        "rss_bytes": journal.peak_rss_bytes(),
    }


@contextmanager
def _collecting_between_cases() -> Iterator[None]:
    """No garbage collection but where `_round` asks for it: it would strike in the middle of an iteration."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


def _rounds(context: RankContext, job: Job, prepared: Sequence[Prepared], journal: Journal) -> dict[str, list[_JSON]]:
    """The records of all rounds but those of the warm-up, by label."""
    started = time.monotonic()
    for number in range(-job.warmup, 0):
        _round(job, prepared, journal, number)
    checkpoints = Checkpoints(context, job, prepared)
    first = _begin(job, prepared, checkpoints)
    records = {case.label: Records(job.detailed) for case in job.cases}
    for number in range(first, job.rounds):
        for label, found in _round(job, prepared, journal, number).items():
            for record in found:
                records[label].add(record)
        over = number + 1 == job.rounds or (number + 1 - first >= _LEAST_ROUNDS and _time_is_up(started, job.seconds))
        if job.checkpoint_every and (over or (number + 1) % job.checkpoint_every == 0):
            recent = (number + 1 - checkpoints.step) * job.iterations
            checkpoints.save(number + 1, {label: _losses(found.kept, recent) for label, found in records.items()})
        if over:
            break
    return {label: found.kept for label, found in records.items()}


def _begin(job: Job, prepared: Sequence[Prepared], checkpoints: Checkpoints) -> int:
    """The first round to be counted, everything being as it must be before it."""
    if job.restart:
        for item in prepared:
            item.restart()
    return checkpoints.resume() if job.resume else 0


def _round(job: Job, prepared: Sequence[Prepared], journal: Journal, number: int) -> dict[str, list[_JSON]]:
    """The records of one round, by label."""
    records: dict[str, list[_JSON]] = {}
    for item in prepared:
        found = records[item.case.label] = []
        if job.reset:
            item.reset()
        for _ in range(job.iterations if item.active else 0):
            record = item.iterate() | {"round": number}
            journal.add(item.case.label, record | item.labels())
            found.append(record)
        gc.collect()
    return records


def _score(item: Prepared) -> Score | None:
    batch = item.held_out()
    return None if batch is None or not item.active or item.case.pace else evaluate(item, batch)


def _losses(records: Sequence[_JSON], count: int) -> list[float]:
    """This rank's parts of the last `count` losses; zeros where the case leaves it idle."""
    return [record["loss"] for record in records[-count:]] or [0.0] * count


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
    yield_to_compute()
    dist.barrier()
    return prepared
