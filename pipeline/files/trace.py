"""Timelines as a Chrome trace, which Perfetto and chrome://tracing open; several in one file."""

from __future__ import annotations

__all__ = ["chrome_trace", "save_trace"]

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from chimera.pipeline.actions import Kind
from chimera.pipeline.files.atomic_file import write_text
from chimera.pipeline.timeline import MemoryEvent, Span, Timeline, Transfer

Event = dict[str, Any]
_Places = dict[tuple[int, bool, int, int, int], Span]
"""(device, whether forward, stage, micro-batch, half) -> its span"""
_WAITS = "receive waits"
_STREAMS = ("compute", "sync", "optimizer", _WAITS)
_FLOWS = 10_000_000
"""flow numbers per timeline"""
_LANES = 100
"""thread = 100 x stream + lane; lanes keep slices that overlap apart, since a thread's must nest"""


class _Slice(NamedTuple):
    """Something that takes time: nanoseconds, and what a click on it shows."""

    stream: str
    name: str
    category: str
    start_ns: int
    end_ns: int
    args: dict[str, object]


def chrome_trace(timelines: Mapping[str, Timeline]) -> dict[str, Any]:
    """The trace of timelines under their labels: JSON-able, times in microseconds.

    One process per label and device (those of one device stand together), one thread per stream,
    a complete event per span and per wait for a message, a flow arrow per message from its producer
    to its consumer, counters for memory. Several labels share the time axis, each from its 0.
    """
    events: list[Event] = []
    for index, (label, timeline) in enumerate(timelines.items()):
        pids = [device * len(timelines) + index + 1 for device in range(timeline.devices)]
        for device, pid in enumerate(pids):
            events += _process(pid, f"device {device}: {label}")
            events += _threads(pid, _slices(timeline, device))
            events += _counters(pid, (event for event in timeline.memory if event.device == device))
            if timeline.source == "measured" and timeline.peak_memory_bytes:
                events.append(_counter(pid, "peak memory", 0, {"measured": timeline.peak_memory_bytes[device]}))
        events += _arrows(timeline, pids, index)
    return {
        "displayTimeUnit": "ms",
        "otherData": {label: _about(timeline) for label, timeline in timelines.items()},
        "traceEvents": events,
    }


def save_trace(timelines: Mapping[str, Timeline], path: str | Path) -> None:
    """Writes `chrome_trace(timelines)` to a file, whole or not at all; InputError if it cannot."""
    write_text(path, json.dumps(chrome_trace(timelines)))


def _about(timeline: Timeline) -> dict[str, object]:
    return {
        "source": timeline.source,
        "schedule": timeline.schedule,
        "iteration_ns": timeline.end_ns,
        "provenance": dict(timeline.provenance),
    }


def _process(pid: int, name: str) -> Iterator[Event]:
    yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}}
    yield {"ph": "M", "pid": pid, "name": "process_sort_index", "args": {"sort_index": pid}}


def _slices(timeline: Timeline, device: int) -> list[_Slice]:
    """The spans of a device and, from its messages, how long it waited for each."""
    slices = [
        _Slice(span.stream, str(span.action), str(span.action.kind), span.start_ns, span.end_ns, {})
        for span in timeline.spans
        if span.device == device
    ]
    for transfer in timeline.transfers:
        if transfer.target == device and transfer.arrived_ns > transfer.needed_ns:
            name, kind = str(transfer.action), str(transfer.action.kind)
            slices.append(_Slice(_WAITS, name, kind, transfer.needed_ns, transfer.arrived_ns, _message(transfer)))
    return slices


def _message(transfer: Transfer) -> dict[str, object]:
    names = ("source", "size_bytes", "posted_ns", "sent_ns", "arrived_ns", "needed_ns")
    return {name: getattr(transfer, name) for name in names}


def _threads(pid: int, slices: Iterable[_Slice]) -> Iterator[Event]:
    ends: dict[str, list[int]] = {stream: [] for stream in _STREAMS}
    for piece in sorted(slices, key=lambda piece: (piece.start_ns, piece.end_ns)):
        lanes = ends[piece.stream]
        lane = next((lane for lane, end in enumerate(lanes) if end <= piece.start_ns), len(lanes))
        lanes[lane : lane + 1] = [piece.end_ns]
        yield {
            "ph": "X",
            "pid": pid,
            "tid": _thread(piece.stream, lane),
            "name": piece.name,
            "cat": piece.category,
            "ts": piece.start_ns / 1000,
            "dur": (piece.end_ns - piece.start_ns) / 1000,
            "args": piece.args,
        }
    for stream in _STREAMS:
        for lane in range(len(ends[stream])):
            tid, name = _thread(stream, lane), stream if lane == 0 else f"{stream} ({lane + 1})"
            yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}
            yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}


def _thread(stream: str, lane: int = 0) -> int:
    return _LANES * _STREAMS.index(stream) + lane


def _arrows(timeline: Timeline, pids: list[int], index: int) -> Iterator[Event]:
    """A flow start in the producer's slice and its finish in the consumer's, for every message."""
    places = _places(timeline)
    tid = _thread("compute")
    for number, transfer in enumerate(timeline.transfers):
        producer, consumer = _ends(transfer, places)
        if producer is None or consumer is None:
            continue  # a timeline cut short
        shared = {"id": index * _FLOWS + number, "name": str(transfer.action), "cat": "message", "tid": tid}
        # one nanosecond inside, since a flow belongs to the slice that its moment lies in
        leaves = max(producer.start_ns, producer.end_ns - 1) / 1000
        pid_from, pid_to = pids[transfer.source], pids[transfer.target]
        yield {**shared, "ph": "s", "pid": pid_from, "ts": leaves, "args": _message(transfer)}
        yield {**shared, "ph": "f", "bp": "e", "pid": pid_to, "ts": consumer.start_ns / 1000}


def _places(timeline: Timeline) -> _Places:
    return {
        (span.device, part.kind is Kind.F, part.stage, microbatch, part.half): span
        for span in timeline.spans
        for part in span.action.parts
        if part.kind in (Kind.F, Kind.B, Kind.I)
        for microbatch in part.microbatches
    }


def _ends(transfer: Transfer, places: _Places) -> tuple[Span | None, Span | None]:
    """The spans that produced and that consumed a message."""
    stage, kind, microbatch, _, half = transfer.action
    forward = kind is Kind.RECV_F
    before = stage - 1 if forward else stage + 1
    producer = places.get((transfer.source, forward, before, microbatch, half))
    return producer, places.get((transfer.target, forward, stage, microbatch, half))


def _counters(pid: int, changes: Iterable[MemoryEvent]) -> Iterator[Event]:
    """The bytes held by category after every moment at which they change."""
    held: dict[str, int] = {}
    for time_ns, group in groupby(sorted(changes, key=attrgetter("time_ns")), key=attrgetter("time_ns")):
        for change in group:
            held[change.category] = held.get(change.category, 0) + change.delta_bytes
        yield _counter(pid, "memory", time_ns, held)


def _counter(pid: int, name: str, time_ns: int, values: Mapping[str, int]) -> Event:
    args = {f"{key}_bytes": value for key, value in values.items()}
    return {"ph": "C", "pid": pid, "name": name, "ts": time_ns / 1000, "args": args}
