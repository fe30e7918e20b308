"""From a profile to the times that paced stages sleep instead of computing."""

from __future__ import annotations

__all__ = ["paces"]

from dataclasses import asdict
from typing import Any

from executor.paced import Pace
from pipeline.schedule import Schedule
from simulator.profile import Profile


def paces(profile: Profile, schedule: Schedule, microbatch_size: int) -> tuple[dict[str, Any], ...]:
    """The fields of `executor.paced.Pace` for every stage; per-stage profiles hold for any size."""
    size = None if profile.per_stage else microbatch_size
    return tuple(
        asdict(
            Pace(
                forward_ns=costs.forward_ns,
                backward_ns=costs.backward_ns,
                backward_input_ns=costs.backward_input_ns,
                backward_weight_ns=costs.backward_weight_ns,
                step_ns=costs.optimizer_ns,
                activation_bytes=costs.activation_bytes,
            )
        )
        for costs in profile.stage_costs(schedule, size)
    )
