"""Predictions of very large schedules, without a plan where that is possible."""

from __future__ import annotations

__all__ = ["large_prediction"]

from pipeline.lowering import lower
from pipeline.schedule import Schedule
from pipeline.timeline import Timeline
from simulator.assumptions import assumptions, has_memory
from simulator.collector import collector_paused
from simulator.compiled.longest_path import CompiledWorkload
from simulator.conditions import Conditions
from simulator.costs.durations import Durations
from simulator.costs.profile import Profile
from simulator.large.memory import peak_bytes
from simulator.large.run import run_large
from simulator.predicted_timeline import predicted_timeline
from simulator.prediction import Prediction
from simulator.reasons.bounds import bound_ns
from simulator.workload import Workload

_LARGE = 20_000
"""computations from which a schedule is worth the way without a plan, where that is possible"""


def large_prediction(schedule: Schedule, profile: Profile, conditions: Conditions) -> Prediction | None:
    """The prediction of a very large schedule where messages only take time; its timeline is made when asked for."""
    if sum(map(len, schedule.actions)) < _LARGE or conditions.semantics != "buffered" or conditions.slow_devices:
        return None
    width, microbatch_size = conditions.width, conditions.microbatch_size
    durations = Durations(schedule, profile, microbatch_size, conditions.partition)
    run = run_large(durations, width)
    if run is None:
        return None
    peaks = peak_bytes(durations, run) if has_memory(profile) else None

    def _timeline() -> Timeline:
        with collector_paused():
            workload = Workload(lower(schedule, width=width), profile, durations, width)
            return predicted_timeline(workload, CompiledWorkload(workload).times())()

    return Prediction(
        schedule=schedule,
        profile=profile,
        source=_timeline,
        metrics=run.metrics(durations.microbatch_size * schedule.microbatches * width, peaks),
        assumptions=assumptions(durations, microbatch_size, width, run.free, None, False),
        conditions=conditions,
        microbatch_size=durations.microbatch_size,
        engine="compiled",
        lower_bound_s=bound_ns(durations, run.pieces(), [1.0] * schedule.devices) / 1e9,
        peak_activations=run.peak_activations(),
        weights_copies=tuple(len(schedule.held_by(device)) for device in range(schedule.devices)),
    )
