"""Devices that wait in a circle: find it, and say it in words."""

from __future__ import annotations

__all__ = ["circle", "describe"]

from collections.abc import Mapping, Sequence

from chimera.pipeline.actions import Step


def circle(waits: Mapping[int, int]) -> tuple[int, ...]:
    """The devices of one circle of `waits` (device -> the device it waits for), lowest first.

    Every device that is waited for must wait itself, otherwise there may be no circle; KeyError then.
    """
    seen: dict[int, None] = {}
    device = min(waits)
    while device not in seen:
        seen[device] = None
        device = waits[device]
    order = list(seen)
    around = order[order.index(device) :]
    lowest = around.index(min(around))
    return tuple(around[lowest:] + around[:lowest])


def describe(
    devices: Sequence[int], positions: Sequence[int], actions: Sequence[Sequence[Step]], what: Mapping[int, str]
) -> str:
    """`device 0 at 0SEND_F0 (position 1) waits for <what> of device 1; device 1 at ...`."""
    after = [*devices[1:], devices[0]]
    return "; ".join(
        f"device {device} at {actions[device][positions[device]]} (position {positions[device]}) "
        f"waits for {what[device]} on device {target}"
        for device, target in zip(devices, after, strict=True)
    )
