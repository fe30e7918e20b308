"""Walk a schedule as if every action took a whole number of slots: the order in which things can happen.

The walk is a longest path over the dependencies of `pipeline.dependencies`; it ends early exactly
when devices wait for one another in a circle.
"""

from __future__ import annotations

__all__ = ["Walk", "unit_duration", "walk"]

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from pipeline.actions import Action, Step
from pipeline.dependencies import inputs_of, results_of

Result = tuple[int, str, int, int]


class Walk(NamedTuple):
    """The steps in the order of their start (ties by device), with the slots they start and end in."""

    devices: list[int]
    """the device of each step: its k-th occurrence is the k-th action of that device"""
    starts: list[list[int]]
    """per device and position"""
    ends: list[list[int]]
    missing: dict[int, Result]
    """per device that is stuck, the result its next action lacks; empty for a sound schedule"""


def unit_duration(action: Action) -> int:
    """Slots of an action in the unit model forward = backward = 1, where W takes the same again.

    The model of the Chimera paper's figures: a full backward is one slot; a doubled forward two.
    """
    return 2 if action.also >= 0 else 1


def walk(actions: Sequence[Sequence[Step]], stages: int, duration: Callable[[Action], int] = unit_duration) -> Walk:
    """The earliest start of every action when messages take no time; `actions[device]` in device order.

    An overlapped pair takes the sum of its parts and hands over its results at the end. Durations
    are positive integers, so an action starts strictly after those it needs: the walk's order is a
    linear extension. About 3 us an action.
    """
    count = len(actions)
    position, free = [0] * count, [0] * count
    starts: list[list[int]] = [[] for _ in range(count)]
    ends: list[list[int]] = [[] for _ in range(count)]
    ended: dict[Result, int] = {}
    waiting: dict[Result, list[int]] = {}
    missing: dict[int, Result] = {}
    heap: list[tuple[int, int]] = []
    devices: list[int] = []

    def announce(device: int) -> None:
        """Put the device's next action into the heap once all that it needs has a time."""
        if position[device] == len(actions[device]):
            return
        start = free[device]
        for part in actions[device][position[device]].parts:
            for needed in inputs_of(part, stages):
                end = ended.get(needed)
                if end is None:
                    waiting.setdefault(needed, []).append(device)
                    missing[device] = needed
                    return
                start = max(start, end)
        heappush(heap, (start, device))

    for device in range(count):
        announce(device)
    while heap:
        start, device = heappop(heap)
        action = actions[device][position[device]]
        end = start + sum(map(duration, action.parts))
        devices.append(device)
        starts[device].append(start)
        ends[device].append(end)
        free[device] = end
        position[device] += 1
        for part in action.parts:
            for result in results_of(part):
                ended[result] = end
                for woken in waiting.pop(result, ()):
                    del missing[woken]
                    announce(woken)
        announce(device)
    return Walk(devices, starts, ends, missing)
