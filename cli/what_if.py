"""What if: a slower device, a device's memory, for `chimera simulate` and `chimera compare`."""

from __future__ import annotations

__all__ = ["WhatIfOptions", "capacity_bytes", "memory_key", "memory_note", "slow_devices"]

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import note
from pipeline.errors import InputError
from pipeline.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from simulator import Prediction
    from simulator.what_if import OutOfMemory


@dataclass(frozen=True, slots=True)
class WhatIfOptions:
    """Changed conditions, as they are written on the command line."""

    slow_device: Annotated[
        list[str],
        typer.Option("--slow-device", metavar="DEVICE=FACTOR", help="What if a device computed FACTOR times as long; repeatable."),
    ] = field(default_factory=list)
    capacity: Annotated[
        str | None, typer.Option("--capacity", metavar="SIZE", help="Memory of a device: who runs out first, and where.")
    ] = None


def slow_devices(given: list[str]) -> dict[int, float]:
    """`2=1.5` and the like; InputError for anything else."""
    found: dict[int, float] = {}
    for text in given:
        device, separator, factor = text.partition("=")
        try:
            found[int(device)] = float(factor)
        except ValueError as error:
            derived = "is not DEVICE=FACTOR" if not separator else "needs a device's number and a factor"
            raise InputError(f"--slow-device {text}", derived, "write for example --slow-device 2=1.5") from error
    return found


def capacity_bytes(given: str | None) -> int | None:
    """Bytes of --capacity."""
    if given is None:
        return None
    try:
        return parse_bytes(given)
    except InputError as error:
        raise InputError(f"--capacity {given}", error.derived, error.remedy) from None


def memory_key(prediction: Prediction, capacity: int | None) -> dict[str, Any]:
    """`out_of_memory`: null, or who exceeds the capacity first; nothing without a capacity."""
    if capacity is None:
        return {}
    found = _exceeded(prediction, capacity)
    return {"capacity_bytes": capacity, "out_of_memory": None if found is None else found.as_json()}


def memory_note(prediction: Prediction, capacity: int | None) -> None:
    """Says who runs out of memory, or that nobody does."""
    if capacity is None:
        return
    name = prediction.schedule.name
    peaks = [device.peak_memory_bytes or 0 for device in prediction.metrics.per_device]
    if not any(peaks):
        note(f"{name}: whether {format_bytes(capacity)} are enough is unknown: the profile holds no sizes")
        return
    found = _exceeded(prediction, capacity)
    note(f"{name}: {found or f'{format_bytes(capacity)} are enough: no device holds more than {format_bytes(max(peaks))}'}")


def _exceeded(prediction: Prediction, capacity: int) -> OutOfMemory | None:
    from simulator.what_if import out_of_memory

    events = groupby(prediction.timeline.memory, key=lambda event: event.device)
    return out_of_memory([tuple(row) for _, row in events], capacity)
