"""The verdict: predicted beside measured, per schedule, beside the noise of the measurement itself."""

from __future__ import annotations

__all__ = ["CaseError", "Figures", "Summary", "Validation", "ValidationCase"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from math import isfinite
from statistics import fmean
from typing import Any

from chimera.calibration.judging.statistics import Interval, win_probability
from chimera.pipeline.showing import Record, records_table, show_line
from chimera.pipeline.timeline import Timeline
from chimera.simulator.costs.profile import Profile


@dataclass(frozen=True, slots=True)
class Figures:
    """What one configuration amounts to, predicted or measured; memory is per device."""

    iteration_s: float
    bubble_ratio: float
    throughput_samples_per_s: float
    peak_memory_bytes: tuple[int, ...]
    steady_iteration_s: float | None = None
    """`chimera.pipeline.steady.steady_iteration_ns` of a schedule without a flush"""

    def as_json(self) -> dict[str, Any]:
        """The figures under the names of the command's contract."""
        steady = {} if self.steady_iteration_s is None else {"steady_iteration_s": self.steady_iteration_s}
        return {
            "iteration_s": self.iteration_s,
            "bubble_ratio": self.bubble_ratio,
            "throughput_samples_per_s": self.throughput_samples_per_s,
            "peak_memory_bytes": list(self.peak_memory_bytes),
        } | steady


@dataclass(frozen=True, slots=True)
class CaseError:
    """Signed errors of a prediction: relative, except the bubble ratio's in percentage points.

    `peak_memory` is the device's whose relative error is largest; positive means over-predicted.
    """

    iteration: float
    bubble_ratio_points: float
    throughput: float
    peak_memory: float
    steady_iteration: float | None = None

    @classmethod
    def between(cls, predicted: Figures, measured: Figures) -> CaseError:
        """The errors of `predicted` against `measured`."""
        memory = [
            (guess - truth) / truth
            for guess, truth in zip(predicted.peak_memory_bytes, measured.peak_memory_bytes, strict=True)
            if truth
        ]
        return cls(
            iteration=predicted.iteration_s / measured.iteration_s - 1,
            bubble_ratio_points=100 * (predicted.bubble_ratio - measured.bubble_ratio),
            throughput=predicted.throughput_samples_per_s / measured.throughput_samples_per_s - 1,
            peak_memory=max(memory, key=abs, default=0.0),
            steady_iteration=_relative(predicted.steady_iteration_s, measured.steady_iteration_s),
        )


def _relative(predicted: float | None, measured: float | None) -> float | None:
    return predicted / measured - 1 if predicted is not None and measured else None


@dataclass(frozen=True, slots=True)
class ValidationCase:
    """One configuration: what was predicted, what was measured, and both timelines."""

    schedule: str
    stages: int
    microbatches: int
    width: int
    predicted: Figures
    measured: Figures
    interval: Interval
    """the measured iteration time in seconds with its bootstrap interval"""
    predicted_interval_s: tuple[float, float, float] | None
    """5 %, 50 % and 95 % of the predicted iteration time, from the calibrated jitter"""
    iterations: int
    inside_interval: int
    """of these, how many took a time inside the predicted 90 % interval"""
    set_aside: int
    predicted_timeline: Timeline
    measured_timeline: Timeline

    @property
    def error(self) -> CaseError:
        """Predicted against measured."""
        return CaseError.between(self.predicted, self.measured)

    def within(self, tolerance: float) -> bool:
        """Whether the iteration time was predicted within the relative `tolerance`."""
        return abs(self.error.iteration) <= tolerance

    def record(self, tolerance: float) -> Record:
        """The case as one row of a table; of the devices, the peaks that are largest."""
        error, sides = self.error, {"predicted": self.predicted, "measured": self.measured}
        figures: Record = {}
        for side, values in sides.items():
            figures |= {
                f"{side}_iteration_s": values.iteration_s,
                f"{side}_bubble_ratio": values.bubble_ratio,
                f"{side}_throughput_samples_per_s": values.throughput_samples_per_s,
                f"{side}_peak_memory_bytes": max(values.peak_memory_bytes, default=None),
                f"{side}_steady_iteration_s": values.steady_iteration_s,
            }
        return {
            "schedule": self.schedule,
            "stages": self.stages,
            "microbatches": self.microbatches,
            "width": self.width,
            **figures,
            "measured_iteration_low_s": self.interval.low,
            "measured_iteration_high_s": self.interval.high,
            "iterations": self.iterations,
            "iteration_error_ratio": error.iteration,
            "bubble_ratio_error_points": error.bubble_ratio_points,
            "throughput_error_ratio": error.throughput,
            "peak_memory_error_ratio": error.peak_memory,
            "within_tolerance": self.within(tolerance),
        }

    def as_json(self, tolerance: float) -> dict[str, Any]:
        """The case under the names of the command's contract."""
        error = self.error
        measured = self.measured.as_json() | {
            "iteration_interval_s": [self.interval.low, self.interval.high],
            "iterations": self.iterations,
            "inside_predicted_interval": self.inside_interval,
            "set_aside": self.set_aside,
        }
        predicted = self.predicted.as_json()
        if self.predicted_interval_s:
            predicted["iteration_interval_s"] = list(self.predicted_interval_s)
        return {
            "schedule": self.schedule,
            "stages": self.stages,
            "microbatches": self.microbatches,
            "width": self.width,
            "predicted": predicted,
            "measured": measured,
            "error": {
                "iteration": error.iteration,
                "bubble_ratio_points": error.bubble_ratio_points,
                "throughput": error.throughput,
                "peak_memory": error.peak_memory,
                **({} if error.steady_iteration is None else {"steady_iteration": error.steady_iteration}),
            },
            "within_tolerance": self.within(tolerance),
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and worst over the cases, and whether predicted and measured rank them alike."""

    mean_abs_error_iteration: float
    worst_abs_error_iteration: float
    mean_abs_error_bubble_points: float
    mean_abs_error_peak_memory: float
    ranking_agrees: bool
    """every pair of cases that the measurement can tell apart (p > 95 %) is predicted in that order"""


@dataclass(frozen=True, slots=True, repr=False)
class Validation:
    """The closed loop's result; `as_json` is the document that `chimera validate --json` prints."""

    machine: Mapping[str, Any]
    compute: str
    model: str
    microbatch_size: int
    calibration_s: float
    repeat_noise: float
    """relative standard error expected of the difference between two repetitions of a measurement"""
    drift: float
    """relative change of the calibration run's iteration time from the first half to the second"""
    tolerance: float
    cases: tuple[ValidationCase, ...]
    gradients_match_reference: bool
    max_gradient_difference: float
    profile: Profile
    provenance: Mapping[str, Any] = field(compare=False)
    """command, date, host, versions, seed: no part of the verdict"""

    def __repr__(self) -> str:
        count = f"{len(self.cases)} case{'s' if len(self.cases) != 1 else ''}"
        return show_line("Validation", self.model, [count, self.verdict] if self.cases else [count])

    def _repr_html_(self) -> str:
        title = f"Validation of {self.model}"
        return records_table(f"{title}: {self.verdict}" if self.cases else title, self.records())

    def records(self) -> list[Record]:
        """One for each case, predicted beside measured."""
        return [case.record(self.tolerance) for case in self.cases]

    @property
    def summary(self) -> Summary:
        """The errors of all cases together."""
        errors = [case.error for case in self.cases]
        return Summary(
            mean_abs_error_iteration=fmean(abs(error.iteration) for error in errors),
            worst_abs_error_iteration=max(abs(error.iteration) for error in errors),
            mean_abs_error_bubble_points=fmean(abs(error.bubble_ratio_points) for error in errors),
            mean_abs_error_peak_memory=fmean(abs(error.peak_memory) for error in errors),
            ranking_agrees=self._ranking_agrees(),
        )

    def _ranking_agrees(self) -> bool:
        for one, other in combinations(self.cases, 2):
            chance = win_probability(one.interval, other.interval)
            if 0.05 <= chance <= 0.95:
                continue  # the measurement itself cannot tell which is faster
            if (chance > 0.5) != (one.predicted.iteration_s < other.predicted.iteration_s):
                return False
        return True

    @property
    def too_noisy(self) -> bool:
        """Whether measurements, or predictions of the calibration's own runs, are less certain than the tolerance."""
        return max(self.repeat_noise, self.calibration_error) > self.tolerance

    @property
    def calibration_error(self) -> float:
        """How far each calibration run is from what the others say of it: see `chimera.calibration.fitting.misfit`."""
        return self.profile.jitter.run_spread

    @property
    def passed(self) -> bool:
        """Whether every case is within the tolerance and the gradients match."""
        return self.gradients_match_reference and all(case.within(self.tolerance) for case in self.cases)

    @property
    def verdict(self) -> str:
        """One sentence for people."""
        worst = self.summary.worst_abs_error_iteration
        noise = f"repeat noise {self.repeat_noise:.1%}"
        if self.too_noisy:
            own = f"calibration runs are {self.calibration_error:.1%} from what the others say of them"
            reason = noise if self.repeat_noise > self.tolerance else own
            return f"no verdict: this machine is too noisy now ({reason}, more than the tolerance {self.tolerance:.1%})"
        if not self.gradients_match_reference:
            return f"failed: gradients differ from the reference by {self.max_gradient_difference:.1e}"
        if self.passed:
            return f"passed: every iteration time within {self.tolerance:.1%} (worst {worst:.1%}, {noise})"
        missed = ", ".join(case.schedule for case in self.cases if not case.within(self.tolerance))
        return f"failed: {missed} beyond {self.tolerance:.1%} (worst {worst:.1%}, {noise})"

    def as_json(self) -> dict[str, Any]:
        """The whole verdict as one JSON-able object, schema_version 1."""
        summary = self.summary
        return {
            "schema_version": 1,
            "machine": dict(self.machine),
            "compute": self.compute,
            "model": self.model,
            "microbatch_size": self.microbatch_size,
            "calibration_s": self.calibration_s,
            "repeat_noise": self.repeat_noise,
            "calibration_error": self.calibration_error,
            "drift": self.drift,
            "tolerance": self.tolerance,
            "cases": [case.as_json(self.tolerance) for case in self.cases],
            "summary": {name: getattr(summary, name) for name in Summary.__slots__},
            "gradients_match_reference": self.gradients_match_reference,
            # A NaN among the gradients counts as an infinite difference, which JSON cannot say.
            "max_gradient_difference": self.max_gradient_difference if isfinite(self.max_gradient_difference) else None,
            "verdict": self.verdict,
            "provenance": dict(self.provenance),
        }
