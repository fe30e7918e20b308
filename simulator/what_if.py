"""Changed conditions for the same schedule: a slower device, less memory."""

from __future__ import annotations

__all__ = ["OutOfMemory", "check_slow", "out_of_memory", "slowed"]

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from pipeline.errors import InputError
from pipeline.timeline import MemoryEvent
from pipeline.units import format_bytes, format_ns
from simulator.workload import Workload


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
            raise InputError(f"slow device {device}={factor:g}", "is not slower", "give a factor of 1 or more, such as 1.5")


def slowed(workload: Workload, factors: Mapping[int, float]) -> list[list[int]]:
    """Durations with the computations and optimizer steps of some devices taking `factor` times as long."""
    return [
        [round(work * factors.get(device, 1.0)) for work in row] for device, row in enumerate(workload.work_ns)
    ]
