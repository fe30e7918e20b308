"""The table and the picture of `chimera compare`."""

from __future__ import annotations

__all__ = ["draw", "print_comparison"]

from pathlib import Path
from typing import TYPE_CHECKING

from chimera.cli.reports import closed_form
from chimera.cli.reports.output import caption, note, percent, print_fitting_table, print_table
from chimera.pipeline.units import format_bytes, format_ns

if TYPE_CHECKING:
    from chimera.simulator import Prediction
    from chimera.simulator.predicting.comparison import Comparison

_STEADY = "steady state"
_COLUMNS = (
    "schedule",
    "iteration",
    _STEADY,
    "x best",
    "closed form",
    "bubble ratio",
    "x bound",
    "activations",
    "peak memory",
    "weights held",
    "samples/s",
)
_FIRST_TO_GO = ("x best", "weights held", "activations", "x bound", "closed form", "samples/s", "peak memory")
"""where a terminal is too narrow for all"""


def print_comparison(comparison: Comparison) -> None:
    """One line a prediction, fastest first; with several depths, D is part of the name."""
    predictions = comparison.ranking
    best = predictions[0].metrics.iteration_ns
    names = [comparison.labels[place] for place in comparison.places]
    rows = [(name, *_row(prediction, best)) for name, prediction in zip(names, predictions, strict=True)]
    several = len({prediction.schedule.devices for prediction in predictions}) > 1
    depth = "" if several else f"D={predictions[0].schedule.devices} "
    shape = f"{depth}N={predictions[0].schedule.microbatches}"
    columns, rows = _telling(rows)
    left_out = print_fitting_table(f"{shape}; bubble ratio = idle / (devices x pipeline)", columns, rows, _FIRST_TO_GO)
    if _STEADY in columns:
        note(
            "iterations with fill and drain, fastest first; "
            "steady state: back to back, as schedules without a flush run"
        )
    if left_out:
        note(f"this terminal is too narrow for {', '.join(left_out)}: --json has them")
    if predictions[0].draws_ns is not None:
        _print_chances(comparison)


def _row(prediction: Prediction, best_ns: int) -> tuple[str, ...]:
    metrics = prediction.metrics
    peaks = [device.peak_memory_bytes or 0 for device in metrics.per_device]
    steady = prediction.steady_state
    return (
        format_ns(metrics.iteration_ns),
        "-"
        if prediction.schedule.update == "flush"
        else "unknown"
        if steady is None
        else format_ns(steady.iteration_ns),
        f"{metrics.iteration_ns / best_ns:.3f}",
        closed_form.cell(prediction),
        percent(metrics.bubble_ratio),
        f"{metrics.iteration_ns / 1e9 / prediction.lower_bound_s:.3f}",
        f"{min(prediction.peak_activations):g}..{max(prediction.peak_activations):g}",
        format_bytes(max(peaks)) if any(peaks) else "-",
        str(max(prediction.weights_copies)),
        _throughput(prediction),
    )


def _telling(rows: list[tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows without the columns that say nothing in any row."""
    kept = [place for place in range(len(_COLUMNS)) if any(row[place] != "-" for row in rows)]
    return tuple(_COLUMNS[place] for place in kept), [tuple(row[place] for place in kept) for row in rows]


def _print_chances(comparison: Comparison) -> None:
    """The interval of each iteration, and how often it is shorter than the first row's."""
    labels, first = comparison.labels, comparison.places[0]
    rows = []
    for place in comparison.places:
        interval_s, chance = comparison[place].interval_s, comparison.chance(place, first)
        assert interval_s is not None and chance is not None
        percentiles = (format_ns(value * 1e9) for value in interval_s)
        rows.append((labels[place], *percentiles, "-" if place == first else percent(chance)))
    title = f"{len(comparison.best.draws_ns or ())} draws, in each of which all schedules meet the same conditions"
    print_table(title, ("schedule", "5 %", "50 %", "95 %", f"is faster than {labels[first]}"), rows)


def _throughput(prediction: Prediction) -> str:
    """Samples per second."""
    known = prediction.metrics.throughput_samples_per_s
    return "-" if known is None else f"{known:.4g}"


def draw(comparison: Comparison, path: Path) -> None:
    """All timelines in one picture."""
    from chimera.cli.pictures.comparison import draw_comparison

    draw_comparison(
        {comparison.labels[place]: comparison[place].timeline for place in comparison.places},
        path,
        title="Predicted timelines, fastest first",
        caption=caption(f"profile {comparison.best.profile.name}"),
    )
