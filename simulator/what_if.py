"""Changed conditions for the same schedule: a slower device, less memory."""

from __future__ import annotations

__all__ = ["OutOfMemory", "out_of_memory"]

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from pipeline.timeline import MemoryEvent
from pipeline.units import format_bytes, format_ns


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
