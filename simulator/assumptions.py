"""What a reader must know to judge a prediction."""

from __future__ import annotations

__all__ = ["assumptions", "has_sizes"]

from simulator.durations import Durations
from simulator.profile import Profile


def has_sizes(profile: Profile) -> bool:
    """Whether the profile knows any bytes at all."""
    return bool(profile.framework_bytes) or any(
        layer.parameter_bytes or any(cost.activation_bytes or cost.boundary_bytes for cost in layer.costs)
        for layer in profile.layers
    )


def assumptions(
    durations: Durations, microbatch_size: int | None, width: int, sends: bool, sharing: str | None, equal: object
) -> tuple[str, ...]:
    """Everything the reader must know to judge the figures."""
    profile, schedule = durations.profile, durations.schedule
    found = list(durations.assumptions())
    if microbatch_size is None:
        found.append(f"micro-batch size {durations.microbatch_size}: none was given")
    if not has_sizes(profile):
        found.append("memory and message sizes are not predicted: the profile holds no sizes")
    if sends and not profile.links:
        found.append("messages are free: the profile holds no links")
    if schedule.update != "flush":
        found.append("fill and drain are included: without a flush, iterations would overlap")
    if width > 1:
        found.append("all copies of the pipeline run alike")
    if sharing:
        found.append(f"work slows other work down: {sharing}")
    if equal:
        found.append("all samples are equal: the profile holds no spread")
    return tuple(found)
