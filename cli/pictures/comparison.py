"""Several timelines above one another on one time axis: what a schedule buys, at a glance."""

from __future__ import annotations

__all__ = ["comparison_figure", "draw_comparison"]

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from chimera.cli.pictures.parts import parts_of
from chimera.cli.pictures.rows import draw_row, legend_handles, row_width, time_axis
from chimera.cli.pictures.style import Margins, arrange, headline, new_figure, save
from chimera.pipeline.metrics import measure
from chimera.pipeline.timeline import Timeline

_MARGINS = Margins(left=1.9, right=0.12, top=0.55, bottom=0.42)
_BAND_INCHES, _FILL = 0.9, 0.9


def draw_comparison(timelines: Mapping[str, Timeline], path: str | Path, *, title: str, caption: str) -> Path:
    """Draws one band of device rows per timeline, in the mapping's order, and returns the file's path."""
    return save(comparison_figure(timelines, title=title, caption=caption), path)


def comparison_figure(timelines: Mapping[str, Timeline], *, title: str, caption: str) -> Figure:
    """One band of device rows per timeline, in the mapping's order, as a figure."""
    shown = list(timelines.values())
    devices = max(timeline.devices for timeline in shown)
    height = max(_BAND_INCHES, 0.11 * devices)
    total = devices * len(shown)
    width = row_width(shown)
    figure = new_figure(width + _MARGINS.left + _MARGINS.right, height * len(shown) + _MARGINS.top + _MARGINS.bottom)
    axes = figure.add_subplot()
    longest = max(timeline.end_ns for timeline in shown)
    scale = time_axis(axes, longest, width, total, height / devices)
    for band, timeline in enumerate(shown):
        parts = parts_of(timeline)
        for device in range(timeline.devices):
            draw_row(axes, timeline, device, band * devices + device + (1 - _FILL) / 2, _FILL, parts, scale)
        axes.axhline(band * devices, color="white", linewidth=3)
    labels = [f"{name}\nbubble {measure(timeline).bubble_ratio:.1%}" for name, timeline in timelines.items()]
    axes.set_yticks([(band + 0.5) * devices for band in range(len(shown))], labels)
    headline(axes, title, f"{len(shown)} schedules, {devices} devices each")
    richest = max(map(parts_of, shown), key=lambda parts: parts.count)
    return arrange(figure, caption, _MARGINS, legend_handles(shown, richest))
