"""The mathematics of a plan against a single process that knows no pipeline."""

from __future__ import annotations

__all__ = ["difference", "largest_difference"]

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from chimera.executor.iteration.stage import StageWork
from chimera.executor.jobs.cases import Job
from chimera.executor.jobs.job import set_up
from chimera.executor.jobs.prepare import Prepared
from chimera.executor.ranks.context import RankContext
from chimera.executor.verification.reference import Outcome, reference


def difference(context: RankContext, payload: Mapping[str, Any]) -> dict[str, float]:
    """Per case, the largest absolute difference of this rank's gradients, weights and loss from the reference's.

    Runs `iterations` of every case with the job's optimizer; gradients and loss are those of the
    last one. The reference is `chimera.executor.verification.reference.reference`, computed on every rank.
    """
    job = Job.from_payload(payload)
    found = {}
    known: dict[tuple[object, ...], Outcome] = {}
    for item in set_up(context, job):
        loss = torch.zeros(1, dtype=torch.float64)
        if item.active:
            gradients, loss[0] = _run(item, job.iterations)
        dist.all_reduce(loss)
        if item.active:
            key = _what_matters(item)
            truth = known[key] = known.get(key) or reference(item, job.iterations)
            found[item.case.label] = largest_difference(item, gradients, float(loss), truth)
    return found


def _what_matters(item: Prepared) -> tuple[object, ...]:
    """What the reference's outcome depends on: not the schedule, except where stages differ in version."""
    schedule, case = item.schedule, item.case
    cuts = item.cuts if schedule.update == "pipedream" else ()
    return schedule.update, schedule.microbatches, case.width, case.microbatch_size, cuts


def _run(item: Prepared, iterations: int) -> tuple[dict[int, list[Tensor]], float]:
    """The gradients of the last iteration by stage, and this rank's part of its loss."""
    gradients: dict[int, list[Tensor]] = {}
    item.runtime.updates.before_step = partial(_keep, gradients, item.runtime.stages)
    losses = [item.iterate()["loss"] for _ in range(iterations)]
    return gradients, losses[-1]


def _keep(gradients: dict[int, list[Tensor]], stages: Mapping[int, StageWork], stage: int) -> None:
    gradients[stage] = [gradient.clone() for gradient in stages[stage].weights.gradients()]


def largest_difference(item: Prepared, gradients: Mapping[int, list[Tensor]], loss: float, truth: Outcome) -> float:
    """The largest absolute difference of gradients, weights and loss; infinite where one is not a number.

    `max` passes over NaN, so a rank that computes nothing but NaN would look perfect.
    """
    found = [abs(loss - truth.loss)]
    for stage, work in item.runtime.stages.items():
        cut = item.cuts[stage]
        for ours, expected in ((gradients[stage], truth.gradients), (work.weights.values(), truth.weights)):
            wanted = [tensor for layer in cut for tensor in expected[layer]]
            found += [float((mine.cpu() - theirs).abs().max()) for mine, theirs in zip(ours, wanted, strict=True)]
    return math.inf if any(map(math.isnan, found)) else max(found)
