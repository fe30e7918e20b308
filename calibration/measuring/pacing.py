"""From a profile to the times that paced stages sleep instead of computing."""

from __future__ import annotations

__all__ = ["paced_layers", "paces"]

from collections.abc import Sequence

from chimera.calibration.measuring.probes import LayerProbe
from chimera.executor.jobs.pace import Pace
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule
from chimera.simulator.costs.profile import Profile
from chimera.simulator.costs.stage_costs import for_chunks, stage_costs


def paces(
    profile: Profile, schedule: Schedule, microbatch_size: int, partition: Sequence[int] | None = None
) -> tuple[Pace, ...]:
    """What every stage sleeps; per-stage profiles hold for any size and partition."""
    size = None if profile.per_stage else microbatch_size
    return tuple(
        Pace(
            forward_ns=costs.forward_ns,
            backward_ns=costs.backward_ns,
            backward_input_ns=costs.backward_input_ns,
            backward_weight_ns=costs.backward_weight_ns,
            step_ns=costs.optimizer_ns,
            activation_bytes=costs.activation_bytes,
        )
        for costs in stage_costs(for_chunks(profile, schedule), schedule.stages, size, partition)
    )


def paced_layers(profile: Profile, microbatch_size: int) -> tuple[LayerProbe, ...]:
    """What probes would find of the layers of ranks that sleep for the profile's costs.

    Sleeping needs no workspace. Raises InputError for a profile that knows stages only.
    """
    return tuple(
        LayerProbe(index, (cost.forward_ns,), (cost.backward_ns,), cost.activation_bytes, cost.boundary_bytes, 0, 0)
        for index, cost in enumerate(stage_costs(profile, _layer_count(profile), microbatch_size))
    )


def _layer_count(profile: Profile) -> int:
    if profile.per_stage:
        raise InputError(
            f"profile {profile.name!r}", "knows stages, not the layers of a model", "give a calibrated profile"
        )
    return sum(layer.repeat for layer in profile.layers)
