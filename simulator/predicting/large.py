"""Predictions of very large schedules, without a plan where that is possible."""

from __future__ import annotations

__all__ = ["large_prediction"]

from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.timeline import Timeline
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import Profile
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.large.memory import peak_bytes
from chimera.simulator.engines.large.run import run_large
from chimera.simulator.predicting.assumptions import assumptions, has_memory
from chimera.simulator.predicting.conditions import Conditions
from chimera.simulator.predicting.predicted_timeline import predicted_timeline
from chimera.simulator.predicting.prediction import Prediction
from chimera.simulator.reasons.bounds import bound_ns
from chimera.simulator.workload.collector import collector_paused
from chimera.simulator.workload.workload import Workload

_LARGE = 20_000
"""computations from which a schedule is worth the way without a plan, where that is possible"""


def large_prediction(schedule: Schedule, profile: Profile, conditions: Conditions) -> Prediction | None:
    """The prediction of a very large schedule where messages only take time; its timeline is made when asked for."""
    if sum(map(len, schedule.actions)) < _LARGE or conditions.semantics != "buffered" or conditions.slow_devices:
        return None
    width, microbatch_size = conditions.width, conditions.microbatch_size
    durations = Durations(schedule, profile, microbatch_size, conditions.layers_per_stage)
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
