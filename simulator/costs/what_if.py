"""Changed conditions for the same schedule: slower devices and links, a faster network, more jitter, less memory."""

from __future__ import annotations

__all__ = [
    "OutOfMemory",
    "check_links",
    "check_slow",
    "faster_network",
    "jittery",
    "on_cores",
    "out_of_memory",
    "slowed",
    "straggling",
    "with_slow_links",
]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

from chimera.pipeline.errors import InputError
from chimera.pipeline.timeline import MemoryEvent
from chimera.pipeline.units import format_bytes, format_ns
from chimera.simulator.costs.network import slower
from chimera.simulator.costs.profile import Profile, SlowLink
from chimera.simulator.workload.workload import Workload


class OutOfMemory(NamedTuple):
    """The first moment at which a device holds more than it has: nanoseconds and bytes."""

    device: int
    time_ns: int
    cause: str
    held_bytes: int
    capacity_bytes: int

    def __str__(self) -> str:
        held, capacity = format_bytes(self.held_bytes), format_bytes(self.capacity_bytes)
        return f"device {self.device} runs out at {format_ns(self.time_ns)}, at {self.cause}: {held} of {capacity}"

    def as_json(self) -> dict[str, Any]:
        """Seconds and bytes."""
        return {
            "device": self.device,
            "time_s": self.time_ns / 1e9,
            "action": self.cause,
            "held_bytes": self.held_bytes,
            "capacity_bytes": self.capacity_bytes,
        }


def out_of_memory(rows: Sequence[Sequence[MemoryEvent]], capacity_bytes: int) -> OutOfMemory | None:
    """The device that exceeds the capacity first (the lowest of several), or None if all stay within it."""
    found = []
    for row in rows:
        for event, held in zip(row, accumulate(event.delta_bytes for event in row), strict=True):
            if held > capacity_bytes:
                found.append(OutOfMemory(event.device, event.time_ns, event.cause, held, capacity_bytes))
                break
    return min(found, key=lambda one: (one.time_ns, one.device), default=None)


def check_slow(factors: Mapping[int, float], devices: int) -> None:
    """Raises InputError for a device that does not exist or a factor below 1."""
    for device, factor in factors.items():
        if not 0 <= device < devices:
            raise InputError(f"slow device {device}", f"there are devices 0 to {devices - 1}", "name one of them")
        if not 1 <= factor < float("inf"):
            raise InputError(
                f"slow device {device}={factor:g}", "is not slower", "give a factor of 1 or more, such as 1.5"
            )


def slowed(workload: Workload, factors: Mapping[int, float]) -> list[list[int]]:
    """Durations with the computations and optimizer steps of some devices taking `factor` times as long."""
    return [[round(work * factors.get(device, 1.0)) for work in row] for device, row in enumerate(workload.work_ns)]


def with_slow_links(profile: Profile, factors: Mapping[tuple[int, int], float]) -> Profile:
    """The profile with slower links between some pairs of devices, both ways, for messages and all-reduces.

    Raises InputError for a factor below 1 or a device that is linked to itself.
    """
    for (one, other), factor in factors.items():
        if one == other:
            raise InputError(
                f"slow link {one}-{other}", "is a device's link to itself", "name two devices, such as 0-1"
            )
        if not 1 <= factor < float("inf"):
            remedy = "give a factor of 1 or more, such as 3"
            raise InputError(f"slow link {one}-{other}={factor:g}", "is not slower", remedy)
    slow = tuple(SlowLink(one, other, factor) for (one, other), factor in factors.items())
    return replace(profile, topology=replace(profile.topology, slow_links=(*profile.topology.slow_links, *slow)))


def check_links(profile: Profile, devices: int) -> None:
    """Raises InputError for a slow link of a device that does not exist."""
    for slow in profile.topology.slow_links:
        if max(slow.one, slow.other) >= devices:
            derived = f"there are devices 0 to {devices - 1}"
            raise InputError(f"slow link {slow.one}-{slow.other}", derived, "name two of them")


def faster_network(profile: Profile, factor: float) -> Profile:
    """All latencies divided and all bandwidths multiplied by a factor, those of all-reduces too; host overheads stay.

    Raises InputError for a factor that is not above zero.
    """
    if not 0 < factor < float("inf"):
        raise InputError(f"a network {factor:g} times as fast", "is none", "give a factor above 0, such as 2")
    cost = profile.all_reduce
    bandwidth = cost.bandwidth_bytes_per_s
    reduce = replace(
        cost,
        latency_ns=round(cost.latency_ns / factor),
        bandwidth_bytes_per_s=None if bandwidth is None else bandwidth * factor,
        measured=tuple(replace(entry, duration_ns=round(entry.duration_ns / factor)) for entry in cost.measured),
    )
    links = {name: slower(link, 1 / factor) for name, link in profile.links.items()}
    return replace(profile, links=links, all_reduce=reduce)


def on_cores(profile: Profile, cores: int) -> Profile:
    """All devices of a host share so many cores (`chimera.simulator.engines.direct.sharing`).

    Raises InputError for none.
    """
    if cores < 1:
        raise InputError(f"{cores} cores", "compute nothing", "give 1 or more")
    return replace(profile, cores=cores)


def jittery(profile: Profile, spread: float) -> Profile:
    """Everything varies log-normally by so much, instead of how the profile says; stragglers and drift stay."""
    layers = tuple(
        replace(
            layer, costs=tuple(replace(cost, forward_spread=spread, backward_spread=spread) for cost in layer.costs)
        )
        for layer in profile.layers
    )
    jitter = replace(
        profile.jitter, action_quantiles=(), message_spread=spread, all_reduce_spread=spread, optimizer_spread=spread
    )
    return replace(profile, layers=layers, jitter=jitter)


def straggling(profile: Profile, probability: float, factor: float) -> Profile:
    """In every iteration each device is slower by a factor with this probability.

    Raises InputError for a probability outside 0 to 1 and a factor below 1.
    """
    if not 0 <= probability <= 1:
        raise InputError(
            f"stragglers with probability {probability:g}", "is no probability", "give 0 to 1, such as 0.05"
        )
    if not 1 <= factor < float("inf"):
        remedy = "give a factor of 1 or more, such as 1.5"
        raise InputError(f"stragglers {factor:g} times as long", "are not slower", remedy)
    jitter = replace(profile.jitter, straggler_probability=probability, straggler_factor=factor)
    return replace(profile, jitter=jitter)
