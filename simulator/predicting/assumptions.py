"""What a reader must know to judge a prediction."""

from __future__ import annotations

__all__ = ["assumptions", "has_memory", "has_sizes"]

from chimera.pipeline.grid import Grid, aligned
from chimera.simulator.costs.collectives import cost_among
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import Profile


def has_sizes(profile: Profile) -> bool:
    """Whether the profile knows any bytes at all."""
    return has_memory(profile) or any(cost.boundary_bytes for layer in profile.layers for cost in layer.costs)


def has_memory(profile: Profile) -> bool:
    """Whether the profile knows what devices hold; the size of messages alone says nothing about that."""
    return bool(profile.framework_bytes) or any(
        layer.parameter_bytes or any(cost.activation_bytes for cost in layer.costs) for layer in profile.layers
    )


def assumptions(
    durations: Durations, microbatch_size: int | None, width: int, free: bool, sharing: str | None, equal: object
) -> tuple[str, ...]:
    """Everything the reader must know to judge the figures."""
    profile, schedule = durations.profile, durations.schedule
    found = list(durations.assumptions())
    if microbatch_size is None:
        found.append(f"micro-batch size {durations.microbatch_size}: none was given")
    if not has_sizes(profile):
        found.append("memory and message sizes are not predicted: the profile holds no sizes")
    elif not has_memory(profile):
        found.append("memory is not predicted: the profile holds no sizes but those of messages")
    if free:
        found.append("messages take no time: no latency, bandwidth or host overhead is known for them")
    found += [
        f"bandwidth of {name} links: {link.bandwidth_text}; larger messages than those may take longer or shorter"
        for name, link in profile.links.items()
        if link.least_bandwidth_bytes_per_s
    ]
    if _free_reduces(durations, width):
        found.append("all-reduces take no time: no bandwidth or latency is known for them")
    if schedule.update != "flush":
        found.append(
            "one iteration with its fill and drain, as runs are measured (a barrier before each); "
            "steady_state has iterations that overlap"
        )
    if width > 1:
        found.append("all copies of the pipeline run alike")
        nodes, devices = profile.topology.devices_per_node, schedule.devices
        if not aligned(devices, nodes):
            found.append(
                f"copies of {devices} devices stand differently on nodes of {nodes}: the first copy is predicted"
            )
    if sharing:
        found.append(f"work slows other work down: {sharing}")
    if equal:
        found.append("all samples are equal: the profile holds no spread")
    return tuple(found)


def _free_reduces(durations: Durations, width: int) -> bool:
    """Whether gradients are all-reduced at no cost at all."""
    schedule = durations.schedule
    ranks = Grid(schedule.devices, width).replica_ranks(schedule, 0)
    cost = cost_among(durations.profile, ranks)
    return len(ranks) > 1 and not (cost.latency_ns or cost.bandwidth_bytes_per_s or cost.measured)
