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
    walker = _Walker(actions, stages)
    for device in range(len(actions)):
        walker.announce(device)
    while walker.ready:
        walker.perform_next(duration)
    return Walk(walker.starts, walker.ends, walker.missing)


class _Walker:
    """Where every device stands, which results exist since when, and who waits for which."""

    def __init__(self, actions: Sequence[Sequence[Step]], stages: int) -> None:
        self.actions, self.stages = actions, stages
        self.starts: list[list[int]] = [[] for _ in actions]
        self.ends: list[list[int]] = [[] for _ in actions]
        self.missing: dict[int, Result] = {}
        self.ready: list[tuple[int, int]] = []
        self._ended: dict[Result, int] = {}
        self._waiting: dict[Result, list[int]] = {}

    def announce(self, device: int) -> None:
        """Put the device's next action into the heap once all that it needs has a time."""
        ends = self.ends[device]
        if len(ends) == len(self.actions[device]):
            return
        start = ends[-1] if ends else 0
        for part in self.actions[device][len(ends)].parts:
            for needed in inputs_of(part, self.stages):
                end = self._ended.get(needed)
                if end is None:
                    self._waiting.setdefault(needed, []).append(device)
                    self.missing[device] = needed
                    return
                start = max(start, end)
        heappush(self.ready, (start, device))

    def perform_next(self, duration: Callable[[Action], int]) -> None:
        """The action that can start first gets its slots, and wakes those that lacked its results."""
        start, device = heappop(self.ready)
        action = self.actions[device][len(self.ends[device])]
        end = start + sum(map(duration, action.parts))
        self.starts[device].append(start)
        self.ends[device].append(end)
        for part in action.parts:
            for result in results_of(part):
                self._ended[result] = end
                for woken in self._waiting.pop(result, ()):
                    del self.missing[woken]
                    self.announce(woken)
        self.announce(device)
