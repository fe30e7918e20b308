"""The Chrome trace holds every span, message and byte, and what Perfetto needs to show them."""

import json
from collections import Counter
from itertools import pairwise
from typing import Any

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.files.trace import chrome_trace
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import MemoryEvent, Source, Span, Timeline, Transfer
from chimera.simulator import Profile, simulate

F, B = Kind.F, Kind.B


def by_hand(source: Source = "predicted") -> Timeline:
    """Two devices, one micro-batch; device 1 waits from 0 to 5 us, computes 5-8, device 0 all-reduces."""
    spans = (
        Span(0, "compute", Action(0, F, 0), 0, 4000),
        Span(0, "sync", Action(0, Kind.REDUCE_GRAD), 4000, 9000),
        Span(0, "sync", Action(1, Kind.REDUCE_GRAD), 5000, 10000),
        Span(1, "compute", Action(1, F, 0), 5000, 8000),
    )
    message = Transfer(Action(1, Kind.RECV_F, 0), 0, 1, 64, 0, 4000, 5000, 0)
    memory = (MemoryEvent(1, 0, "weights", 100, ""), MemoryEvent(1, 5000, "activations", 20, "1F0"))
    return Timeline(source, "x", 2, spans, 10000, (message,), memory, (0, 120))


def events(trace: dict[str, Any], phase: str) -> list[dict[str, Any]]:
    return [event for event in trace["traceEvents"] if event["ph"] == phase]


def test_every_span_and_wait_is_a_slice_in_microseconds() -> None:
    slices = events(chrome_trace({"predicted": by_hand()}), "X")
    found = sorted((e["pid"], e["name"], e["cat"], e["ts"], e["dur"]) for e in slices)
    assert found == [
        (1, "0F0", "F", 0, 4),
        (1, "0REDUCE_GRAD", "REDUCE_GRAD", 4, 5),
        (1, "1REDUCE_GRAD", "REDUCE_GRAD", 5, 5),
        (2, "1F0", "F", 5, 3),
        (2, "1RECV_F0", "RECV_F", 0, 5),
    ]


def test_an_arrow_joins_producer_and_consumer() -> None:
    trace = chrome_trace({"predicted": by_hand()})
    (start,), (finish,) = events(trace, "s"), events(trace, "f")
    assert start["id"] == finish["id"]
    assert (start["pid"], finish["pid"]) == (1, 2)
    assert 0 <= start["ts"] < 4  # inside 0F0
    assert finish["ts"] == 5


def test_counters_hold_bytes_by_category() -> None:
    counters = events(chrome_trace({"predicted": by_hand()}), "C")
    assert [(e["pid"], e["ts"], e["args"]) for e in counters] == [
        (2, 0, {"weights_bytes": 100}),
        (2, 5, {"weights_bytes": 100, "activations_bytes": 20}),
    ]


def test_predicted_and_measured_have_processes_of_their_own_side_by_side() -> None:
    trace = chrome_trace({"predicted": by_hand(), "measured": by_hand("measured")})
    names = {e["pid"]: e["args"] for e in events(trace, "M") if e["name"] == "process_name"}
    labels = ["device 0: predicted", "device 0: measured", "device 1: predicted", "device 1: measured"]
    assert [names[pid]["name"] for pid in sorted(names)] == labels
    assert len({e["id"] for e in events(trace, "s")}) == 2


def test_slices_of_a_thread_never_overlap() -> None:
    trace = chrome_trace({"predicted": by_hand()})
    rows: dict[object, list[tuple[float, float]]] = {}
    for event in events(trace, "X"):
        rows.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    assert all(one[1] <= other[0] for row in rows.values() for one, other in pairwise(sorted(row)))


def test_a_simulated_pipeline_is_complete_and_survives_json() -> None:
    timeline = simulate(build("chimera", stages=4, microbatches=8), Profile.uniform(p2p="1ms")).timeline
    trace = json.loads(json.dumps(chrome_trace({"predicted": timeline}), allow_nan=False))
    phases = Counter(event["ph"] for event in trace["traceEvents"])
    waits = sum(transfer.arrived_ns > transfer.needed_ns for transfer in timeline.transfers)
    assert phases["X"] == len(timeline.spans) + waits
    # every micro-batch crosses 3 boundaries forward and 3 backward
    assert phases["s"] == phases["f"] == 8 * 2 * 3
    compute = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["cat"] in "FB"]
    assert len(compute) == 8 * 4 * 2
