"""What one rank notes of one iteration."""

from __future__ import annotations

__all__ = ["IterationRecord", "Records", "take_record"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chimera.executor.iteration.mail import Mail, Received
from chimera.executor.ranks.clock import Clock
from chimera.pipeline.actions import Step


@dataclass(slots=True)
class IterationRecord:
    """One iteration of one rank; times are monotonic nanoseconds of rank 0's host."""

    begin_ns: int = 0
    end_ns: int = 0
    loss: float = 0.0
    """this rank's part of the mini-batch's mean loss"""
    spans: list[tuple[str, str, int, int]] = field(default_factory=list)
    """(stream, action, start, end)"""
    transfers: list[tuple[str, int, int, int, int, int]] = field(default_factory=list)
    """(receive, source, bytes, posted, arrived, needed)"""
    sent: dict[str, int] = field(default_factory=dict)
    """when each message was handed over, by its receive action"""


def take_record(
    begin: int, end: int, loss: float, marks: list[tuple[str, Step, Any, Any]], mail: Mail, clock: Clock, shift: int
) -> IterationRecord:
    """The record of an iteration that has finished; empties `marks` and what the mail has noted.

    `begin` and `end` are this host's nanoseconds; `shift` turns those into rank 0's.
    """

    ns = clock.ns
    record = IterationRecord(
        begin + shift,
        end + shift,
        loss,
        [(stream, str(step), ns(start) + shift, ns(stop) + shift) for stream, step, start, stop in marks],
        [_transfer(received, clock, shift) for received in mail.received],
        {str(receive): ns(at) + shift for receive, at in mail.sent},
    )
    for kept in (marks, mail.received, mail.sent):
        kept.clear()
    return record


def _transfer(message: Received, clock: Clock, shift: int) -> tuple[str, int, int, int, int, int]:
    posted, arrived, needed = (clock.ns(mark) + shift for mark in (message.posted, message.arrived, message.needed))
    return str(message.receive), message.source, message.size_bytes, posted, arrived, needed


class Records:
    """The iterations of one case on one rank, in order: what is kept of them does not grow by spans.

    Times and loss stay of every iteration, everything else of between `most` / 2 and `most` of them,
    evenly spaced and the same on all ranks; None keeps all.
    """

    def __init__(self, most: int | None) -> None:
        self.kept: list[dict[str, Any]] = []
        self._most, self._stride, self._detailed = most, 1, 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Keeps one more iteration."""
        whole = len(self.kept) % self._stride == 0
        self.kept.append(dict(record) if whole else _outline(record))
        self._detailed += whole
        if self._most is not None and self._detailed > self._most:
            self._stride *= 2
            self.kept = [each if index % self._stride == 0 else _outline(each) for index, each in enumerate(self.kept)]
            self._detailed = -(-len(self.kept) // self._stride)


def _outline(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("begin_ns", "end_ns", "loss", "round")}
