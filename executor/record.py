"""What one rank notes of one iteration."""

from __future__ import annotations

__all__ = ["IterationRecord", "take_record"]

from dataclasses import dataclass, field
from typing import Any

from executor.clock import Clock
from executor.mail import Mail
from pipeline.actions import Step


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

    def ns(mark: Any) -> int:
        return clock.ns(mark) + shift

    record = IterationRecord(
        begin + shift,
        end + shift,
        loss,
        [(stream, str(step), ns(start), ns(stop)) for stream, step, start, stop in marks],
        [(str(r.receive), r.source, r.size_bytes, ns(r.posted), ns(r.arrived), ns(r.needed)) for r in mail.received],
        {str(receive): ns(at) for receive, at in mail.sent},
    )
    for kept in (marks, mail.received, mail.sent):
        kept.clear()
    return record
