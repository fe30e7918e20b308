"""Predicted over measured: the same devices, one time axis, and by how much the ends differ."""

from __future__ import annotations

__all__ = ["draw_overlay"]

from pathlib import Path

from matplotlib.axes import Axes

from chimera.cli.pictures.parts import parts_of
from chimera.cli.pictures.rows import Scale, draw_row, legend_handles, row_width, time_axis
from chimera.cli.pictures.style import MEASURED, PREDICTED, SMALL, Margins, finish, headline, new_figure, time_unit
from chimera.pipeline.errors import InputError
from chimera.pipeline.metrics import measure
from chimera.pipeline.timeline import Timeline

_MARGINS = Margins(left=1.25, right=0.2, top=0.62, bottom=0.42)
_PAIR, _FILL, _GAP = 0.66, 0.40, 0.03
"""inches per device; share of that for each of the two bars, and for what lies between them"""


def draw_overlay(predicted: Timeline, measured: Timeline, path: str | Path, *, title: str, caption: str) -> Path:
    """Draws both timelines on one time axis from 0, in pairs of rows, predicted above measured.

    Raises InputError for timelines of different numbers of devices.
    """
    if predicted.devices != measured.devices:
        given = f"timelines of {predicted.devices} and {measured.devices} devices"
        raise InputError(given, "cannot be laid over one another", "predict and measure the same configuration")
    devices, both = predicted.devices, (predicted, measured)
    pair, width = min(_PAIR, max(0.24, 14.0 / devices)), row_width(both)
    figure = new_figure(width + _MARGINS.left + _MARGINS.right, pair * devices + _MARGINS.top + _MARGINS.bottom)
    axes = figure.add_subplot()
    scale = time_axis(axes, max(predicted.end_ns, measured.end_ns), width, devices, pair)
    parts = parts_of(predicted)
    first = 0.5 - _FILL - _GAP / 2
    for device in range(devices):
        draw_row(axes, predicted, device, device + first, _FILL, parts, scale)
        draw_row(axes, measured, device, device + 0.5 + _GAP / 2, _FILL, parts, scale)
    _name_rows(axes, both, pair)
    _mark_ends(axes, both, scale)
    headline(axes, title, _comparison(*both))
    return finish(figure, path, caption, _MARGINS, legend_handles(both, parts))


def _name_rows(axes: Axes, both: tuple[Timeline, Timeline], pair: float) -> None:
    devices = both[0].devices
    size = min(SMALL, pair * _FILL * 72 * 0.8)
    middles = [device + 0.5 + side * (_FILL + _GAP) / 2 for device in range(devices) for side in (-1, 1)]
    labels = axes.set_yticks(middles, [both[i % 2].source for i in range(2 * devices)])
    for i, tick in enumerate(labels):
        tick.label1.set(fontsize=size, color=(PREDICTED, MEASURED)[i % 2])
    for device in range(devices):
        place, offset = (0, device + 0.5), (-72 * (_MARGINS.left - 0.1), 0)
        text = axes.annotate(f"device {device}", place, offset, axes.get_yaxis_transform(), "offset points")
        text.set(fontsize=size, verticalalignment="center")


def _mark_ends(axes: Axes, both: tuple[Timeline, Timeline], scale: Scale) -> None:
    """A line where either iteration ends, dashed for the prediction."""
    for timeline, colour, style in zip(both, (PREDICTED, MEASURED), ("--", "-"), strict=True):
        axes.axvline(timeline.end_ns / scale.unit_ns, color=colour, linestyle=style, linewidth=1.2, zorder=2.5)


def _comparison(predicted: Timeline, measured: Timeline) -> str:
    unit, size = time_unit(measured.end_ns)
    one, other = (measure(timeline).bubble_ratio for timeline in (predicted, measured))
    error = f"error {predicted.end_ns / measured.end_ns - 1:+.1%}" if measured.end_ns else ""
    return (
        f"iteration: {predicted.source} {predicted.end_ns / size:.4g} {unit} (dashed), "
        f"{measured.source} {measured.end_ns / size:.4g} {unit} (solid), {error}    |    "
        f"bubble ratio: {one:.1%} and {other:.1%}, error {100 * (one - other):+.1f} points"
    )
