"""The heuristic behind ZB-1p and ZB-2p: candidate warm-ups, and the order that follows from one.

The paper's rules, in our words (arXiv 2401.10241, section 3.1). Before its first I a stage runs as
many forwards as fit until that gradient arrives and as memory admits; then I and F alternate; a W
goes wherever memory demands one, where the wait for the next I or F is at least as long as a W,
and, optionally, into a shorter wait which would make this the stage with the longest idle time of
all. What is left of W comes last. How the warm-up is rounded and whether short waits are filled is
tried out, on no more than 4p micro-batches and the warm-up, and the order with the shortest longest
device (from its first action to its last) kept. The warm-ups of ZB-H1 and ZB-H2 are among the candidates.
"""

from __future__ import annotations

__all__ = ["WHOLE", "Times", "search"]

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from chimera.pipeline.actions import Kind

WHOLE = 1000
"""one activation, in the unit of `kept`"""


class Times(NamedTuple):
    """What the search believes an F, an I, a W and a message take, in one unit."""

    forward: int
    backward_input: int
    backward_weight: int
    comm: int


def search(stages: int, microbatches: int, times: Times, limit: int, kept: int) -> list[list[Kind]]:
    """The kinds of every stage's actions in order; micro-batches of a kind ascend. O(p m) in time.

    `limit` >= 1 is the number of activations a stage may store, `kept` the thousandths of one that
    stay from its I to its W.
    """
    candidates = list(dict.fromkeys(_warm_ups(stages, microbatches, times, limit)))
    trial = min(microbatches, 4 * stages + max(warm_up[0] for warm_up in candidates))
    _, warm_up, fill = min(
        (_order(warm_up, trial, times, limit, fill, kept)[0], warm_up, fill)
        for warm_up in candidates
        for fill in (False, True)
    )
    return _order(warm_up, microbatches, times, limit, fill, kept)[1]


def _warm_ups(stages: int, microbatches: int, times: Times, limit: int) -> Iterator[tuple[int, ...]]:
    """Forwards before the first I, per stage; never more on a stage than on the one before it.

    The first gradient returns to the stage d from the end F + d (F+I+2C) after its first forward began.
    """
    most = min(microbatches, limit)
    unit = max(times.forward, 1)
    round_trip = times.forward + times.backward_input + 2 * times.comm
    distances = range(stages - 1, -1, -1)
    yield tuple(min(most, max((times.forward + d * round_trip) // unit, 1)) for d in distances)
    yield tuple(min(most, max(-(-(times.forward + d * round_trip) // unit), 1)) for d in distances)
    yield tuple(min(most, d + 1) for d in distances)
    yield tuple(min(most, 2 * d + 1) for d in distances)


class _Stage:
    """Where a stage stands in an order that is being found."""

    __slots__ = ("idle", "now", "owed", "row", "stored")

    def __init__(self) -> None:
        self.now = self.idle = self.stored = self.owed = 0
        self.row: list[Kind] = []


@dataclass(frozen=True, slots=True)
class _Rules:
    """When a W goes before the next F or I: costs, the room for activations, and whether to fill short waits."""

    times: Times
    room: int
    kept: int
    fill: bool
    stages: list[_Stage]

    def run(self, stage: _Stage, kind: Kind, ready: int, duration: int) -> int:
        """Appends W passes as the rules say, then the F or I that can start when `ready`; when its message arrives."""
        if stage.owed:
            self._weights(stage, ready, bounded=kind is Kind.F)
        clock = stage.now
        if clock < ready:
            if stage.row:
                stage.idle += ready - clock
            clock = ready
        stage.row.append(kind)
        stage.now = clock = clock + duration
        return clock + self.times.comm

    def _weights(self, stage: _Stage, ready: int, *, bounded: bool) -> None:
        """The W passes before a forward, whose room is `bounded`, or before an I."""
        clock, weight, fill = stage.now, self.times.backward_weight, self.fill
        longest = max(each.idle for each in self.stages) if fill and clock < ready < clock + weight else 0
        while stage.owed and (
            (bounded and stage.stored > self.room)
            or clock + weight <= ready
            or (fill and clock < ready and stage.idle + ready - clock > longest)
        ):
            stage.row.append(Kind.W)
            clock += weight
            stage.owed -= 1
            stage.stored -= self.kept
        stage.now = clock


def _order(
    warm_up: tuple[int, ...], microbatches: int, times: Times, limit: int, fill: bool, kept: int
) -> tuple[int, list[list[Kind]]]:
    """The longest device's time and every stage's order, for given warm-ups and whether to fill short waits."""
    forward, backward, weight, comm = times
    stages = [_Stage() for _ in warm_up]
    run = _Rules(times, WHOLE * (limit - 1), kept, fill, stages).run
    arrivals = [[0] * microbatches for _ in range(len(stages) + 1)]
    """when a forward's input reaches a stage"""
    for number, (stage, count) in enumerate(zip(stages, warm_up, strict=True)):
        for m in range(count):
            arrivals[number + 1][m] = run(stage, Kind.F, arrivals[number][m], forward)
        stage.stored = WHOLE * count
    for m in range(microbatches):
        gradient = 0
        for stage in reversed(stages):
            gradient = run(stage, Kind.I, gradient, backward)
            stage.owed += 1
            stage.stored -= WHOLE - kept
        for number, (stage, count) in enumerate(zip(stages, warm_up, strict=True)):
            if count + m < microbatches:
                arrivals[number + 1][count + m] = run(stage, Kind.F, arrivals[number][count + m], forward)
                stage.stored += WHOLE
    for stage in stages:
        stage.row += [Kind.W] * stage.owed
        stage.now += stage.owed * weight
    ends = (stage.now - number * (forward + comm) for number, stage in enumerate(stages))
    return max(ends), [stage.row for stage in stages]
