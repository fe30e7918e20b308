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
from typing import NamedTuple

from pipeline.actions import Kind

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


def _order(
    warm_up: tuple[int, ...], microbatches: int, times: Times, limit: int, fill: bool, kept: int
) -> tuple[int, list[list[Kind]]]:
    """The longest device's time and every stage's order, for given warm-ups and whether to fill short waits."""
    forward, backward, weight, comm = times
    stages, room = len(warm_up), WHOLE * (limit - 1)
    now, idle, stored, owed = [0] * stages, [0] * stages, [0] * stages, [0] * stages
    rows: list[list[Kind]] = [[] for _ in warm_up]
    arrivals = [[0] * microbatches for _ in range(stages + 1)]
    """when a forward's input reaches a stage"""

    def run(stage: int, kind: Kind, ready: int, duration: int) -> int:
        """Appends W passes as the rules say, then the F or I that can start when `ready`; returns its end."""
        clock, row = now[stage], rows[stage]
        if owed[stage]:
            demanded = kind is Kind.F and stored[stage] > room
            longest = max(idle) if fill and clock < ready < clock + weight else 0
            while owed[stage] and (
                demanded
                or clock + weight <= ready
                or (fill and clock < ready and idle[stage] + ready - clock > longest)
            ):
                row.append(Kind.W)
                clock += weight
                owed[stage] -= 1
                stored[stage] -= kept
                demanded = kind is Kind.F and stored[stage] > room
        if clock < ready:
            if row:
                idle[stage] += ready - clock
            clock = ready
        row.append(kind)
        now[stage] = clock = clock + duration
        return clock + comm

    for stage, count in enumerate(warm_up):
        for m in range(count):
            arrivals[stage + 1][m] = run(stage, Kind.F, arrivals[stage][m], forward)
        stored[stage] = WHOLE * count
    for m in range(microbatches):
        gradient = 0
        for stage in reversed(range(stages)):
            gradient = run(stage, Kind.I, gradient, backward)
            owed[stage] += 1
            stored[stage] -= WHOLE - kept
        for stage, count in enumerate(warm_up):
            if count + m < microbatches:
                arrivals[stage + 1][count + m] = run(stage, Kind.F, arrivals[stage][count + m], forward)
                stored[stage] += WHOLE
    for stage, row in enumerate(rows):
        row += [Kind.W] * owed[stage]
        now[stage] += owed[stage] * weight
    starts = [stage * (forward + comm) for stage in range(stages)]
    return max(end - start for end, start in zip(now, starts, strict=True)), rows
