"""Records of all ranks become timelines: one an iteration, times from the earliest start."""

from __future__ import annotations

__all__ = ["durations_ns", "losses", "partial_results", "score", "timelines"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chimera.executor.jobs.journal import read_journal
from chimera.pipeline.actions import parse_action
from chimera.pipeline.grid import Grid
from chimera.pipeline.timeline import Source, Span, Timeline, Transfer

_Record = Mapping[str, Any]
_RECENT = 8
"""lines of a case: ranks that talk to one another are never that many iterations apart"""


def timelines(results: Sequence[_Record], label: str, *, copy: int = 0) -> list[Timeline]:
    """The measured timelines of one case, in order; `results[rank]` is what `run_job` returned.

    They show the devices of one data-parallel `copy` of the pipeline; an iteration ends when every
    copy is done. Iterations whose spans were not kept are left out. A paced case is labelled so.
    """
    devices = results[0]["devices"][label]
    source: Source = "paced" if results[0]["compute"][label] == "paced" else "measured"
    rows = [result["cases"][label] for result in results if result["cases"][label]]
    peaks = tuple(result["peak_memory_bytes"].get(label, 0) for result in results)
    mine = Grid.of_ranks(devices, len(rows)).copy_ranks(copy) if rows else ()
    return [
        _merge([row[i] for row in rows], mine, source, label, tuple(peaks[rank] for rank in mine) if any(peaks) else ())
        for i in range(min(map(len, rows), default=0))
        if all("spans" in row[i] for row in rows)
    ]


def durations_ns(results: Sequence[_Record], label: str) -> list[int]:
    """How long every iteration of a case took, from the first rank's begin to the last one's end."""
    rows = [result["cases"][label] for result in results if result["cases"][label]]
    return [
        max(record["end_ns"] for record in records) - min(record["begin_ns"] for record in records)
        for records in zip(*rows, strict=False)
    ]


def losses(results: Sequence[_Record], label: str) -> list[float]:
    """The mean loss of every iteration of a case, over the whole mini-batch."""
    rows = [result["cases"][label] for result in results if result["cases"][label]]
    return [sum(record["loss"] for record in records) for records in zip(*rows, strict=False)]


def score(results: Sequence[_Record], label: str) -> tuple[float, float] | None:
    """(accuracy, mean loss) of a case on the held-out samples; None where nothing was scored."""
    parts = [part for result in results if (part := result.get("scores", {}).get(label)) is not None]
    samples, predictions, correct, loss = (sum(values) for values in zip(*parts, strict=True)) if parts else (0,) * 4
    return (correct / predictions, loss / samples) if samples else None


def partial_results(output: Path, ranks: int, devices: Mapping[str, int]) -> list[dict[str, Any]]:
    """What the journals of a run that was cut short hold, in the shape of its results.

    `devices[label]` is the number of devices of each case's pipeline. Warm-up is left out, and so is
    an iteration that some rank of its case did not complete: ranks are killed at different places.
    Spans are those of the last few iterations.
    """
    last = _RECENT * len(devices)
    lines = [
        [line for line in read_journal(output, rank, detailed=last) if line["round"] >= 0] for rank in range(ranks)
    ]
    found: list[dict[str, Any]] = [
        {"cases": {}, "devices": dict(devices), "compute": {}, "peak_memory_bytes": {}} for _ in lines
    ]
    for label in devices:
        rows = [[line for line in row if line["label"] == label] for row in lines]
        said: _Record = next((row[0] for row in rows if row), {"ranks": 0, "compute": "real"})
        complete = min(map(len, rows[: said["ranks"]]), default=0)
        for result, row in zip(found, rows, strict=True):
            result["cases"][label], result["compute"][label] = row[:complete], said["compute"]
    return found


def _merge(
    records: Sequence[_Record], mine: Sequence[int], source: Source, label: str, peaks: tuple[int, ...]
) -> Timeline:
    zero = min(record["begin_ns"] for record in records)
    end = max(record["end_ns"] for record in records) - zero
    own = [records[rank] for rank in mine]
    sent = {(device, name): at for device, record in enumerate(own) for name, at in record["sent"].items()}
    spans = [
        Span(device, stream, parse_action(name), start - zero, stop - zero)
        for device, record in enumerate(own)
        for stream, name, start, stop in sorted(record["spans"], key=lambda row: row[2])
    ]
    transfers = [
        Transfer(
            parse_action(name),  # type: ignore[arg-type]
            origin,
            device,
            size,
            posted - zero,
            sent[origin, name] - zero,
            arrived - zero,
            needed - zero,
        )
        for device, record in enumerate(own)
        for name, origin, size, posted, arrived, needed in record["transfers"]
    ]
    return Timeline(source, label, len(own), tuple(spans), end, tuple(transfers), peak_memory_bytes=peaks)
