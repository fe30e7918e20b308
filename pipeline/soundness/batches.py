"""Which messages of a device go out as one batch: the same for the checker and for the executor."""

from __future__ import annotations

__all__ = ["batch_end"]

from collections.abc import Callable, Sequence

from pipeline.actions import COMMUNICATION, Step


def batch_end(row: Sequence[Step], position: int, peer_at: Callable[[int], int]) -> int:
    """Where the batch that begins with the message at `position` ends: before the first action that is not its.

    A batch is a maximal run of adjacent SENDs and RECVs with one peer; `peer_at(place)` is the device
    at the other end of the message at `place`.
    """
    peer, end = peer_at(position), position + 1
    while end < len(row) and row[end].kind in COMMUNICATION and peer_at(end) == peer:
        end += 1
    return end
