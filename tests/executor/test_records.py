"""What a rank keeps of many iterations: losses and times of all, spans of a bounded, evenly spaced number."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chimera.executor.iteration.record import Records
from chimera.executor.jobs.results import durations_ns, losses, timelines


def _record(number: int) -> dict[str, Any]:
    times = {"begin_ns": 100 * number, "end_ns": 100 * number + 10 + number, "loss": float(number), "round": number}
    return times | {
        "spans": [["compute", "0F0", 100 * number, 100 * number + 5]],
        "transfers": [],
        "sent": {},
        "switches": 0,
    }


def _kept(count: int, most: int | None) -> list[dict[str, Any]]:
    records = Records(most)
    for number in range(count):
        records.add(_record(number))
    return records.kept


@given(st.integers(0, 700), st.integers(1, 64))
def test_spans_are_kept_of_a_bounded_number_evenly_spaced_from_the_first(count: int, most: int) -> None:
    detailed = [record["round"] for record in _kept(count, most) if "spans" in record]
    assert min(count, most / 2) <= len(detailed) <= most
    steps = {later - earlier for earlier, later in pairwise(detailed)}
    assert len(steps) <= 1 and (not detailed or detailed[0] == 0)


@given(st.integers(1, 300))
def test_times_and_losses_are_kept_of_all(count: int) -> None:
    kept = _kept(count, 8)
    results = [{"cases": {"case": kept}, "devices": {"case": 1}, "compute": {"case": "real"}, "peak_memory_bytes": {}}]
    assert losses(results, "case") == [float(number) for number in range(count)]
    assert durations_ns(results, "case") == [10 + number for number in range(count)]
    shown = timelines(results, "case")
    assert [timeline.end_ns for timeline in shown] == [10 + record["round"] for record in kept if "spans" in record]


def test_without_a_bound_nothing_is_dropped() -> None:
    assert _kept(500, None) == [_record(number) for number in range(500)]
