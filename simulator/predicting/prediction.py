"""What was predicted for one configuration: timeline, metrics, and everything that was assumed."""

from __future__ import annotations

__all__ = ["Prediction"]

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from chimera.pipeline.metrics import Metrics
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.timeline import Timeline
from chimera.simulator.costs.profile import Profile
from chimera.simulator.predicting.conditions import Conditions
from chimera.simulator.predicting.steady_state import SteadyState


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one schedule on one profile; `interval_s` is [p5, p50, p95] of iteration_s."""

    schedule: Schedule
    profile: Profile
    source: Callable[[], Timeline]
    """what writes the timeline down when it is asked for: that takes longer than to find out all else"""
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
    overlapping: Callable[[], SteadyState | None] | None = None
    """of a schedule without a flush: what predicts its iterations back to back, when that is asked for"""

    @property
    def width(self) -> int:
        """Data-parallel copies of the pipeline."""
        return self.conditions.width

    @cached_property
    def steady_state(self) -> SteadyState | None:
        """Iterations that overlap; None for schedules that flush or cannot overlap, and for plans, which are taken literally."""
        return None if self.overlapping is None else self.overlapping()

    @cached_property
    def timeline(self) -> Timeline:
        """When everything happens."""
        return self.source()

    def as_json(self) -> dict[str, Any]:
        """The object of `chimera simulate --json`: seconds, bytes, and everything that was assumed."""
        schedule, metrics = self.schedule, self.metrics
        document: dict[str, Any] = {
            "schema_version": 1,
            "schedule": schedule.name,
            "options": dict(schedule.options),
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
