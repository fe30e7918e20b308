"""Walk a schedule as if every action took a whole number of slots: the order in which things can happen.

The walk is a longest path over the dependencies of `pipeline.dependencies`; it ends early exactly
when devices wait for one another in a circle.
"""

from __future__ import annotations

__all__ = ["Walk", "unit_duration", "walk"]

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from pipeline.actions import Action, Kind, Step
from pipeline.dependencies import inputs_of, results_of

Result = tuple[int, str, int, int]


class Walk(NamedTuple):
    """The slots in which every action starts and ends, per device and position."""

    starts: list[list[int]]
    ends: list[list[int]]
    missing: dict[int, Result]
    """per device that is stuck, the result its next action lacks; empty for a sound schedule"""


def unit_duration(action: Action) -> int:
    """Slots of an action: a forward 1, a full backward 2, its parts I and W and its halves 1 each."""
    if action.also >= 0 or (action.kind is Kind.B and action.half < 0):
        return 2
    return 1


def walk(actions: Sequence[Sequence[Step]], stages: int, duration: Callable[[Action], int] = unit_duration) -> Walk:
    """The earliest start of every action when messages take no time; `actions[device]` in device order.

    An overlapped pair takes the sum of its parts and hands over its results at the end. Durations
    are positive integers, so an action starts strictly after the start of those it needs. About
    3 us an action.
    """
    count = len(actions)
    position, free = [0] * count, [0] * count
    starts: list[list[int]] = [[] for _ in range(count)]
    ends: list[list[int]] = [[] for _ in range(count)]
    ended: dict[Result, int] = {}
    waiting: dict[Result, list[int]] = {}
    missing: dict[int, Result] = {}
    heap: list[tuple[int, int]] = []

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
    return Walk(starts, ends, missing)
