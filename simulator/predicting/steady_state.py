"""What an asynchronous schedule does once it is filled: iterations that follow one another without a flush."""

from __future__ import annotations

__all__ = ["SteadyState", "iterations_for", "steady_state"]

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from chimera.pipeline.schedule import Schedule
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.workload import COMPUTE, Workload

_LEAST_MEASURED = 2


@dataclass(frozen=True, slots=True)
class SteadyState:
    """One iteration among many: from the end of one to the end of the next, averaged."""

    iteration_ns: float
    throughput_samples_per_s: float | None
    bubble_ratio: float
    """1 - compute of all devices / (devices x iteration)"""
    settled: bool
    """whether the end times repeat exactly; otherwise the figures average iterations that still differ"""

    def as_json(self) -> dict[str, Any]:
        """Seconds and ratios."""
        return {
            "iteration_s": self.iteration_ns / 1e9,
            "throughput_samples_per_s": self.throughput_samples_per_s,
            "bubble_ratio": self.bubble_ratio,
            "settled": self.settled,
        }


def iterations_for(schedule: Schedule) -> int:
    """How many iterations to unroll: to fill the pipeline, measure (8D micro-batches, or two iterations) and drain."""
    stages, microbatches = schedule.stages, schedule.microbatches
    return _filling(stages, microbatches) + max(_LEAST_MEASURED, -(-8 * stages // microbatches)) + 1


def steady_state(workload: Workload, times: Times, iterations: int, samples: int) -> SteadyState:
    """The rate of a plan of so many iterations (`chimera.pipeline.lowering.unroll`) of `samples` samples each.

    For a fixed order, end times are a linear system in the (max, +) algebra: in the end they repeat
    after some micro-batches, each time so much later (Baccelli et al., Synchronization and
    Linearity, theorem 3.28). Without a bandwidth to share, the period is at most the stages.
    """
    schedule = workload.plan.schedule
    microbatches = schedule.microbatches // iterations
    ends, busy = _ends(workload, times)
    first = _filling(schedule.stages, microbatches) * microbatches - 1
    measured = ends[first : (iterations - 1) * microbatches]
    found = _period(measured)
    rate = Fraction(measured[-1] - measured[0], len(measured) - 1) if found is None else found
    spent = float(rate * microbatches)
    return SteadyState(
        iteration_ns=spent,
        throughput_samples_per_s=samples * 1e9 / spent if spent else None,
        bubble_ratio=float(1 - busy / (iterations * schedule.devices * microbatches * rate)) if spent else 0.0,
        settled=found is not None,
    )


def _ends(workload: Workload, times: Times) -> tuple[list[int], int]:
    """When the last action of each micro-batch ends, and the nanoseconds of all computations."""
    ends, busy = [0] * workload.plan.schedule.microbatches, 0
    for ops, row, work in zip(workload.ops, times.ends, workload.work_ns, strict=True):
        for (code, action, _, _), end, duration in zip(ops, row, work, strict=True):
            if code is COMPUTE:
                busy += duration
                for microbatch in (m for part in action.parts for m in part.microbatches):
                    ends[microbatch] = max(ends[microbatch], end)
    return ends, busy


def _period(ends: Sequence[int]) -> Fraction | None:
    """Nanoseconds a micro-batch, if the times repeat after some of them, at least twice; None otherwise."""
    for period in range(1, len(ends) // 2 + 1):
        later = {after - before for before, after in zip(ends, ends[period:], strict=False)}
        if len(later) == 1:
            return Fraction(later.pop(), period)
    return None


def _filling(stages: int, microbatches: int) -> int:
    """Iterations that are left out at the beginning: twice as many micro-batches as are ever in flight."""
    return -(-2 * stages // microbatches)
