"""What the runtime looks up in a plan before it runs: messages, and which samples go together."""

from __future__ import annotations

__all__ = ["Piece", "extents", "halved", "message_of", "pieces_of"]

from typing import NamedTuple

from chimera.pipeline.actions import SENDS, Action, Kind
from chimera.pipeline.rules import Message, message_for, messages_from
from chimera.pipeline.schedule import Schedule


class Piece(NamedTuple):
    """Samples that go through the backward together: a micro-batch, or half of one.

    `start` and `stop` are its rows in the tensor of its forward; `share` is its part of the whole
    mini-batch, by which the mean loss of its samples is weighted.
    """

    microbatch: int
    half: int
    start: int
    stop: int
    share: float

    @property
    def key(self) -> tuple[int, int]:
        """(micro-batch, half): what names it in a backward."""
        return self.microbatch, self.half


def halved(schedule: Schedule, device: int) -> frozenset[tuple[int, int]]:
    """The (stage, micro-batch) of a device whose backward comes in two halves."""
    return frozenset(
        (part.stage, part.microbatch) for action in schedule.actions[device] for part in action.parts if part.half >= 0
    )


def extents(action: Action, rows: int) -> list[tuple[int, int]]:
    """(first row, rows) of each micro-batch, or of the half, in the tensor of an action.

    `rows` is a micro-batch's; the first half of an odd number is the larger one.
    """
    if action.half >= 0:
        first = (rows + 1) // 2
        return [(0, first if action.half == 0 else rows - first)]
    return [(index * rows, rows) for index in range(len(action.microbatches))]


def pieces_of(forward: Action, rows: int, share: float, halves: frozenset[tuple[int, int]]) -> tuple[Piece, ...]:
    """The pieces of a forward; `share` is a whole micro-batch's part of the mini-batch."""
    pieces = []
    for m, (start, count) in zip(forward.microbatches, extents(forward, rows), strict=True):
        if (forward.stage, m) not in halves:
            pieces.append(Piece(m, -1, start, start + count, share))
            continue
        middle = start + (count + 1) // 2
        for half, low, high in ((0, start, middle), (1, middle, start + count)):
            pieces.append(Piece(m, half, low, high, share * (high - low) / count))
    return tuple(pieces)


def message_of(action: Action, schedule: Schedule) -> Message:
    """The message behind a SEND or RECV of a plan, whichever backward kind produced it."""
    forward = action.kind in (Kind.SEND_F, Kind.RECV_F)
    compute = action._replace(kind=Kind.F if forward else Kind.B)
    message = messages_from(compute, schedule) if action.kind in SENDS else message_for(compute, schedule)
    assert message is not None, f"{action} carries nothing"
    return message
