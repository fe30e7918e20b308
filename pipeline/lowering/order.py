"""Walk a schedule as if every action took a whole number of slots: the order in which things can happen.

The walk is a longest path over the dependencies of `chimera.pipeline.rules`; it ends early exactly
when devices wait for one another in a circle.
"""

from __future__ import annotations

__all__ = ["Walk", "unit_duration", "walk"]

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from chimera.pipeline.actions import Action, Kind, Step
from chimera.pipeline.rules import Result, flow_of

_B = Kind.B


class Walk(NamedTuple):
    """The slots in which every action starts and ends, per device and position."""

    starts: list[list[int]]
    ends: list[list[int]]
    missing: dict[int, Result]
    """per device that is stuck, the result its next action lacks; empty for a sound schedule"""


def unit_duration(action: Action) -> int:
    """Slots of an action: a forward 1, a full backward 2, its parts I and W and its halves 1 each."""
    _, kind, _, also, half = action
    return 2 if also >= 0 or (kind is _B and half < 0) else 1


def walk(actions: Sequence[Sequence[Step]], stages: int, duration: Callable[[Action], int] = unit_duration) -> Walk:
    """The earliest start of every action when messages take no time; `actions[device]` in device order.

    An overlapped pair takes the sum of its parts and hands over its results at the end. Durations
    are positive integers, so an action starts strictly after the start of those it needs. About
    1 us an action.
    """
    walker = _Walker(actions, stages, duration)
    while walker.ready:
        walker.advance(walker.ready.popleft())
    return Walk(walker.starts, walker.ends, walker.missing)


class _Walker:
    """Where every device stands, which results exist since when, and who waits for which."""

    def __init__(self, actions: Sequence[Sequence[Step]], stages: int, duration: Callable[[Action], int]) -> None:
        self.actions, self.stages, self.duration = actions, stages, duration
        self.starts: list[list[int]] = [[] for _ in actions]
        self.ends: list[list[int]] = [[] for _ in actions]
        self.missing: dict[int, Result] = {}
        self.ready = deque(range(len(actions)))
        self._ended: dict[Result, int] = {}
        self._waiting: dict[Result, list[int]] = {}

    def advance(self, device: int) -> None:
        """Gives the device's actions their slots, one after another, up to one that lacks a result."""
        starts, ends, row = self.starts[device], self.ends[device], self.actions[device]
        ended, waiting, stages, duration = self._ended, self._waiting, self.stages, self.duration
        clock = ends[-1] if ends else 0
        for position in range(len(ends), len(row)):
            start, slots = clock, 0
            results: tuple[Result, ...] = ()
            for part in row[position].parts:
                slots += duration(part)
                needs, leaves = flow_of(part, stages)
                results += leaves
                for needed in needs:
                    moment = ended.get(needed)
                    if moment is None:
                        self.missing[device] = needed
                        waiting.setdefault(needed, []).append(device)
                        return
                    if moment > start:
                        start = moment
            clock = start + slots
            starts.append(start)
            ends.append(clock)
            for result in results:
                ended[result] = clock
                if result in waiting:
                    self._wake(result)

    def _wake(self, result: Result) -> None:
        """Those that lacked it may go on."""
        for device in self._waiting.pop(result):
            del self.missing[device]
            self.ready.append(device)
