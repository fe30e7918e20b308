"""Records of all ranks become timelines: one an iteration, times from the earliest start."""

from __future__ import annotations

__all__ = ["timelines"]

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.actions import parse_action
from pipeline.timeline import Span, Timeline, Transfer


def timelines(results: Sequence[Mapping[str, Any]], label: str) -> list[Timeline]:
    """The measured timelines of one case, in order; `results[rank]` is what `run_job` returned."""
    rows = [result["cases"][label] for result in results]
    return [_merge([row[i] for row in rows if row], label) for i in range(len(rows[0]))]


def _merge(records: Sequence[Mapping[str, Any]], label: str) -> Timeline:
    zero = min(record["begin_ns"] for record in records)
    sent = {(rank, name): at for rank, record in enumerate(records) for name, at in record["sent"].items()}
    spans = [
        Span(rank, stream, parse_action(name), start - zero, end - zero)
        for rank, record in enumerate(records)
        for stream, name, start, end in sorted(record["spans"], key=lambda row: row[2])
    ]
    transfers = [
        Transfer(parse_action(name), source, rank, size, posted - zero, sent.get((source, name), zero) - zero, arrived - zero, needed - zero)  # type: ignore[arg-type]
        for rank, record in enumerate(records)
        for name, source, size, posted, arrived, needed in record["transfers"]
    ]
    end = max(record["end_ns"] for record in records) - zero
    return Timeline("measured", label, len(records), tuple(spans), end, tuple(transfers))
