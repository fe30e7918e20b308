"""What was predicted for one configuration: timeline, metrics, and everything that was assumed."""

from __future__ import annotations

__all__ = ["Prediction"]

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from chimera.pipeline.metrics import Metrics
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.showing import Record, facts_table, show_line
from chimera.pipeline.timeline import Timeline
from chimera.pipeline.units import format_ns
from chimera.simulator.costs.profile import Profile
from chimera.simulator.engines.choice import times_of
from chimera.simulator.predicting.conditions import Conditions, workload_under
from chimera.simulator.predicting.predicted_timeline import predicted_timeline
from chimera.simulator.predicting.steady_state import SteadyState


@dataclass(frozen=True, repr=False)
class Prediction:
    """What was predicted for one schedule on one profile; `interval_s` is [p5, p50, p95] of iteration_s.

    Predictions are equal if the same was asked and the same was found. The timeline follows from what was
    asked and is not compared; pickled, it is left behind and made again where somebody asks for it.
    """

    schedule: Schedule
    profile: Profile
    source: Callable[[], Timeline] | None = field(compare=False)
    """what writes the timeline down when it is asked for, which takes longer than all else; None: the engines"""
    metrics: Metrics
    assumptions: tuple[str, ...]
    conditions: Conditions
    microbatch_size: int
    engine: str
    lower_bound_s: float
    peak_activations: tuple[float, ...]
    weights_copies: tuple[int, ...]
    interval_s: tuple[float, float, float] | None = None
    typical: Timeline | None = None
    """with samples: the drawn iteration whose time is the (lower) median of all"""
    draws_ns: tuple[int, ...] | None = None
    """with samples: the iteration time of every draw; draws of one seed can be compared across schedules"""
    overlapping: Callable[[], SteadyState | None] | None = field(default=None, compare=False)
    """of a schedule without a flush: what predicts its iterations back to back, when that is asked for"""
    plan: Plan | None = None
    """what was taken literally, where that was a plan"""

    @property
    def width(self) -> int:
        """Data-parallel copies of the pipeline."""
        return self.conditions.width

    @cached_property
    def steady_state(self) -> SteadyState | None:
        """Iterations that overlap; None for schedules that flush or cannot overlap, and for plans, taken literally."""
        return None if self.overlapping is None else self.overlapping()

    @cached_property
    def timeline(self) -> Timeline:
        """When everything happens."""
        if self.source is not None:
            return self.source()
        workload = workload_under(self.plan or self.schedule, self.profile, self.conditions)
        return predicted_timeline(workload, times_of(workload, self.conditions.semantics))()

    def __getstate__(self) -> dict[str, Any]:
        """Without the timeline and what makes it: a plan with costs is many times as large as all else."""
        return {item.name: getattr(self, item.name) for item in fields(self)} | {"source": None}

    def __hash__(self) -> int:
        return hash((self.schedule, self.profile, self.metrics))

    def __repr__(self) -> str:
        schedule, copies = self.schedule, f" W={self.width}" if self.width > 1 else ""
        subject = f"{schedule.name} D={schedule.devices} N={schedule.microbatches}{copies}"
        figures = [format_ns(self.metrics.iteration_ns), f"bubble {100 * self.metrics.bubble_ratio:.1f} %"]
        return show_line("Prediction", subject, figures)

    def _repr_html_(self) -> str:
        return facts_table(f"Prediction of {self.schedule.name} on {self.profile.name}", self._record())

    def records(self) -> list[Record]:
        """The one row of this prediction in a table of several."""
        steady = self.steady_state
        return [self._record() | {"steady_iteration_s": None if steady is None else steady.iteration_ns / 1e9}]

    def _record(self) -> Record:
        """Without the steady state, which takes longer than all else."""
        schedule, metrics = self.schedule, self.metrics
        low, median, high = self.interval_s or (None, None, None)
        peaks = [figures.peak_memory_bytes for figures in metrics.per_device if figures.peak_memory_bytes is not None]
        return self._figures() | {
            "options": ", ".join(f"{key}={value}" for key, value in schedule.options.items()),
            "profile": self.profile.name,
            "peak_memory_bytes": max(peaks, default=None),
            "peak_activations": max(self.peak_activations, default=None),
            "iteration_low_s": low,
            "iteration_median_s": median,
            "iteration_high_s": high,
        }

    def _figures(self) -> Record:
        """What rows and the JSON object both say: sizes, and figures of the iteration in seconds."""
        schedule, metrics = self.schedule, self.metrics
        return {
            "schedule": schedule.name,
            "stages": schedule.stages,
            "devices": schedule.devices,
            "microbatches": schedule.microbatches,
            "width": self.width,
            "microbatch_size": self.microbatch_size,
            "engine": self.engine,
            "pipeline_s": metrics.pipeline_ns / 1e9,
            "iteration_s": metrics.iteration_ns / 1e9,
            "ideal_s": metrics.ideal_ns / 1e9,
            "lower_bound_s": self.lower_bound_s,
            "bubble_ratio": metrics.bubble_ratio,
            "bubble_over_ideal": metrics.bubble_over_ideal,
            "bubble_longest_stage": metrics.bubble_longest_stage,
            "throughput_samples_per_s": metrics.throughput_samples_per_s,
            "utilisation": metrics.utilisation,
        }

    def as_json(self) -> dict[str, Any]:
        """The object of `chimera simulate --json`: seconds, bytes, and everything that was assumed."""
        schedule = self.schedule
        document: dict[str, Any] = {
            "schema_version": 1,
            **self._figures(),
            "options": dict(schedule.options),
            "per_device": [self._device_json(device) for device in range(schedule.devices)],
            "assumptions": list(self.assumptions),
            "profile": {"name": self.profile.name, **self.profile.provenance},
        }
        if self.steady_state is not None:
            document["steady_state"] = self.steady_state.as_json()
        if self.interval_s is not None:
            document["interval_s"] = list(self.interval_s)
        return document

    def _device_json(self, device: int) -> dict[str, Any]:
        figures, activations = self.metrics.per_device[device], self.peak_activations[device]
        return {
            "device": device,
            "busy_s": figures.busy_ns / 1e9,
            "idle_s": figures.idle_ns / 1e9,
            "peak_activations": int(activations) if activations.is_integer() else activations,
            "peak_memory_bytes": figures.peak_memory_bytes,
            "weights_copies": self.weights_copies[device],
        }
