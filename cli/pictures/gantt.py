"""One timeline: a row per device, micro-batch numbers in the bars, the bubble in figures."""

from __future__ import annotations

__all__ = ["draw_schedule", "schedule_figure"]

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chimera.cli.pictures.parts import parts_of
from chimera.cli.pictures.rows import draw_row, legend_handles, row_width, time_axis
from chimera.cli.pictures.style import Margins, arrange, headline, new_figure, save, time_unit
from chimera.pipeline.metrics import measure
from chimera.pipeline.timeline import Timeline

_MARGINS = Margins(left=0.75, right=0.12, top=0.55, bottom=0.42)
_ROW, _FILL = 0.40, 0.86
"""inches per device (less for many), and the share of it that is filled"""


def draw_schedule(timeline: Timeline, path: str | Path, *, title: str, caption: str) -> Path:
    """Draws a predicted or measured timeline to a PNG, SVG or PDF file and returns its path."""
    return save(schedule_figure(timeline, title=title, caption=caption), path)


def schedule_figure(timeline: Timeline, *, title: str, caption: str) -> Figure:
    """A predicted or measured timeline as a figure.

    Grey is idle time. Shades of a colour are the pipelines (directions) or the chunks of a device.
    """
    row = min(_ROW, max(0.12, 9.0 / timeline.devices))
    width = row_width([timeline])
    sides, ends = _MARGINS.left + _MARGINS.right, _MARGINS.top + _MARGINS.bottom
    figure = new_figure(width + sides, row * timeline.devices + ends)
    axes = figure.add_subplot()
    scale = time_axis(axes, timeline.end_ns, width, timeline.devices, row)
    parts = parts_of(timeline)
    for device in range(timeline.devices):
        draw_row(axes, timeline, device, device + (1 - _FILL) / 2, _FILL, parts, scale)
    _name_devices(axes, timeline.devices, row)
    headline(axes, title, _figures(timeline))
    return arrange(figure, caption, _MARGINS, legend_handles([timeline], parts))


def _name_devices(axes: Axes, devices: int, row: float) -> None:
    every = max(1, round(0.16 / row))
    shown = range(0, devices, every)
    axes.set_yticks([device + 0.5 for device in shown], [f"device {device}" for device in shown])


def _figures(timeline: Timeline) -> str:
    metrics = measure(timeline)
    unit, size = time_unit(metrics.iteration_ns)
    iteration = f"{metrics.iteration_ns / size:.4g} {unit}"
    return f"{timeline.source}: iteration {iteration}, bubble ratio {metrics.bubble_ratio:.1%}"
