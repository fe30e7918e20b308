"""What happened when, predicted or measured: the same shape for both, so one function judges both."""

from __future__ import annotations

__all__ = ["Category", "MemoryEvent", "Source", "Span", "Stream", "Timeline", "Transfer"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from chimera.pipeline.actions import Action, Step
from chimera.pipeline.showing import Record, records_table, show_line
from chimera.pipeline.units import format_ns

Stream = Literal["compute", "sync", "optimizer"]
Source = Literal["predicted", "measured", "paced"]
Category = Literal["weights", "gradients", "optimizer", "activations", "workspace", "buffers", "versions", "framework"]
_SHOWN = 10
"""records of a timeline that a notebook shows"""


class Span(NamedTuple):
    """One action of one device on one of its streams; nanoseconds from the iteration's start.

    On the compute stream a span is work only: time spent waiting for a message is not in it.
    """

    device: int
    stream: Stream
    action: Step
    start_ns: int
    end_ns: int


class Transfer(NamedTuple):
    """One message: when its receive was posted, its data sent and arrived, and when it was needed.

    `needed_ns` is when the consumer had everything else and began to wait for it (or found it).
    """

    action: Action
    """the RECV_F or RECV_B"""
    source: int
    target: int
    size_bytes: int
    posted_ns: int
    sent_ns: int
    arrived_ns: int
    needed_ns: int


class MemoryEvent(NamedTuple):
    """A change of the bytes a device holds, with its cause."""

    device: int
    time_ns: int
    category: Category
    delta_bytes: int
    cause: str


@dataclass(frozen=True, slots=True, repr=False)
class Timeline:
    """One iteration of `devices` devices. Times are integer nanoseconds from its start.

    `end_ns` is when gradient synchronisation and the optimizer step are done on every device.
    Spans are sorted by device, then start. For a measured timeline `peak_memory_bytes[device]`
    is what was measured; for a predicted one it is the maximum of the memory events.
    """

    source: Source
    schedule: str
    devices: int
    spans: tuple[Span, ...]
    end_ns: int
    transfers: tuple[Transfer, ...] = ()
    memory: tuple[MemoryEvent, ...] = ()
    peak_memory_bytes: tuple[int, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict, compare=False)
    """command, date, host, versions, seed: where this timeline comes from; no part of what it says"""

    def save_trace(self, path: str | Path) -> None:
        """Writes the timeline as a Chrome trace, which Perfetto opens; InputError if it cannot."""
        from chimera.pipeline.files.trace import save_trace

        save_trace({self.source: self}, path)

    def of_device(self, device: int, stream: Stream = "compute") -> tuple[Span, ...]:
        """The spans of one stream of one device, by start time."""
        return tuple(span for span in self.spans if span.device == device and span.stream == stream)

    def __repr__(self) -> str:
        counts = [f"{len(self.spans)} spans", f"{len(self.transfers)} transfers"]
        return show_line(
            "Timeline", f"{self.source} D={self.devices}", [self.schedule, format_ns(self.end_ns), *counts]
        )

    def _repr_html_(self) -> str:
        title = f"Timeline of {self.schedule} ({self.source}), {format_ns(self.end_ns)}"
        return records_table(title, self._records(_SHOWN), total=len(self.spans) + len(self.transfers))

    def records(self) -> list[Record]:
        """One for each span, then one for each transfer, which belongs to the device that receives it."""
        return self._records(None)

    def _records(self, most: int | None) -> list[Record]:
        """At most so many of each."""
        spans = [_span_record(span) for span in self.spans[:most]]
        transfers = [_transfer_record(transfer) for transfer in self.transfers[:most]]
        named: Record = {"timeline": self.source, "schedule": self.schedule}
        return [named | record for record in (*spans, *transfers)][:most]


def _span_record(span: Span) -> Record:
    return {
        "device": span.device,
        "stream": span.stream,
        "action": str(span.action),
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "duration_ns": span.end_ns - span.start_ns,
    }


def _transfer_record(transfer: Transfer) -> Record:
    return {
        "device": transfer.target,
        "stream": "transfer",
        "action": str(transfer.action),
        "start_ns": transfer.sent_ns,
        "end_ns": transfer.arrived_ns,
        "duration_ns": transfer.arrived_ns - transfer.sent_ns,
        "from_device": transfer.source,
        "size_bytes": transfer.size_bytes,
        "posted_ns": transfer.posted_ns,
        "needed_ns": transfer.needed_ns,
    }
