"""How far predictions of a run are off that calibration has not seen: cross-validation over its own runs.

Costs are medians over several schedules, and every schedule differs a little from what the others say of
it. All iterations of a run share that, so no variation between iterations shows it. Each calibration run
is therefore predicted from the others alone, as judged runs are from all of them (leave-one-out
cross-validation: Hastie, Tibshirani, Friedman: The Elements of Statistical Learning, section 7.10).
"""

from __future__ import annotations

__all__ = ["CalibrationRun", "cross_validate"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log, sqrt
from statistics import fmean

from chimera.calibration.judging.statistics import median_interval
from chimera.calibration.measuring.disturbances import Kept
from chimera.pipeline.schedule import Schedule
from chimera.simulator import simulate
from chimera.simulator.costs.profile import Profile

_SAMPLES = 101


@dataclass(frozen=True, slots=True)
class CalibrationRun:
    """A schedule that was run for calibration, its iterations that count, and its layers per stage."""

    schedule: Schedule
    kept: Kept
    partition: tuple[int, ...] | None = None

    @property
    def shows(self) -> set[str]:
        """What not every schedule shows: kinds of computations, recomputation, all-reduces over so many replicas."""
        kinds: set[str] = {part.kind for row in self.schedule.actions for action in row for part in action.parts}
        recomputing = {"recomputation"} if self.schedule.recompute else set()
        return kinds | recomputing | {f"all-reduce over {self.schedule.replicas}"}


def cross_validate(
    fit: Callable[[Sequence[CalibrationRun]], Profile],
    runs: Sequence[CalibrationRun],
    *,
    microbatch_size: int,
    width: int = 1,
) -> Profile:
    """`fit(runs)` with the `run_spread` of its jitter: how far each run is from what `fit` makes of the others.

    Root mean square of the relative errors of medians, less what the measured medians are uncertain by.
    Runs that show what no other does could not be predicted and do not count.
    """
    squares = []
    for run in runs:
        others = [other for other in runs if other is not run]
        if run.shows <= set[str]().union(*(other.shows for other in others)):
            squares.append(_squared_error(fit(others), run, microbatch_size, width))
    profile = fit(runs)
    spread = sqrt(max(fmean(squares), 0.0)) if squares else 0.0
    return replace(profile, jitter=replace(profile.jitter, run_spread=spread))


def _squared_error(profile: Profile, run: CalibrationRun, microbatch_size: int, width: int) -> float:
    prediction = simulate(
        run.schedule, profile, microbatch_size=microbatch_size, width=width, samples=_SAMPLES, partition=run.partition
    )
    assert prediction.interval_s is not None
    measured = median_interval([t.end_ns / 1e9 for t in run.kept.timelines], blocks=run.kept.rounds)
    error = log(prediction.interval_s[1] / measured.median)
    return error**2 - (measured.standard_error / measured.median) ** 2
