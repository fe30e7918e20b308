"""Which messages of a device go out as one batch: the same for the checker and for the executor."""

from __future__ import annotations

__all__ = ["batch_end", "channel_of"]

from collections.abc import Callable, Sequence

from chimera.pipeline.actions import COMMUNICATION, Action, Step
from chimera.pipeline.rules import peer_of
from chimera.pipeline.schedule import Schedule


def channel_of(step: Step, schedule: Schedule) -> tuple[int, int]:
    """(peer, replica) of a SEND or RECV: messages with one of them share a communicator, those of two replicas never do."""
    assert isinstance(step, Action)
    return peer_of(step, schedule), schedule.replica_of[step.microbatch]


def batch_end(row: Sequence[Step], position: int, channel_at: Callable[[int], object]) -> int:
    """Where the batch that begins with the message at `position` ends: before the first action that is not its.

    A batch is a maximal run of adjacent SENDs and RECVs of one channel; `channel_at(place)` is that of
    the message at `place` (see `channel_of`).
    """
    channel, end = channel_at(position), position + 1
    while end < len(row) and row[end].kind in COMMUNICATION and channel_at(end) == channel:
        end += 1
    return end
