"""What every rank of a job would refuse, known before one is started."""

from __future__ import annotations

__all__ = ["check_case", "check_job"]

from collections.abc import Mapping

import torch

from chimera.executor.iteration.clipping import refuse_clipping
from chimera.executor.iteration.weights import optimizer_options
from chimera.executor.jobs.cases import Case, Job
from chimera.executor.jobs.precision import precision_of
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule


def check_job(job: Job, schedules: Mapping[str, Schedule], device: str = "cpu") -> None:
    """Raises InputError, or UnknownNameError, for settings no rank can work with; `schedules` are those of cases."""
    optimizer_options(job.optimizer, job.momentum)
    precision_of(job.dtype, torch.device(device))
    assert job.rate  # an impossible rate is refused where it is made
    for case in job.cases:
        check_case(job, case, schedules[case.label])


def check_case(job: Job, case: Case, schedule: Schedule) -> None:
    """Raises InputError for a case that no number of ranks could run."""
    for what, value in (("a width", case.width), ("a micro-batch size", case.microbatch_size)):
        if value < 1:
            raise InputError(f"{what} of {value}", "leaves nothing to compute", "give 1 or more")
    if job.clip_norm is not None:
        refuse_clipping(job.clip_norm, schedule)
    halves = any(part.half >= 0 for row in schedule.actions for action in row for part in action.parts)
    if halves and case.microbatch_size < 2:
        raise InputError(
            f"case {case.label!r} halves the backward of micro-batches of {case.microbatch_size} sample",
            "half a sample cannot be computed",
            "use a micro-batch size of 2 or more",
        )
