"""Memory over time, a panel per device: what is held by category, its peak, and the measured peak."""

from __future__ import annotations

__all__ = ["draw_memory"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from chimera.cli.pictures.style import (
    CATEGORY_COLOURS,
    MEASURED,
    SMALL,
    Margins,
    finish,
    headline,
    new_figure,
    size_unit,
    tidy,
    time_unit,
)
from chimera.pipeline.errors import InputError
from chimera.pipeline.timeline import Timeline

_MARGINS = Margins(left=1.15, right=0.25, top=0.55, bottom=0.45)
_PANEL = 1.05
"""inches of a device's height"""


class _Held(NamedTuple):
    """Bytes of each category from each moment (nanoseconds) on."""

    times_ns: NDArray[np.int64]
    by_category: dict[str, NDArray[np.int64]]

    @property
    def total(self) -> NDArray[np.int64]:
        """Bytes of all categories together."""
        return sum(self.by_category.values(), np.zeros(len(self.times_ns), dtype=np.int64))


def draw_memory(timelines: Mapping[str, Timeline], path: str | Path, *, caption: str) -> Path:
    """Draws a column per timeline with memory events and a row per device, on one scale.

    A timeline without events (a measured one) adds its peaks as dashed lines to the columns of its
    schedule, or to the only column. Raises InputError if no timeline has memory events.
    """
    columns = {label: timeline for label, timeline in timelines.items() if timeline.memory}
    if not columns:
        given = f"{len(timelines)} timelines without memory events"
        raise InputError(given, "leave nothing to draw", "predict with a profile that holds sizes")
    devices = max(timeline.devices for timeline in columns.values())
    panel, across = max(_PANEL * min(1.0, 10 / devices), 0.45), max(4.2, 9.0 / len(columns)) * len(columns)
    sides, ends = _MARGINS.left + _MARGINS.right, _MARGINS.top + _MARGINS.bottom
    figure = new_figure(across + sides, panel * devices + ends)
    grid = figure.subplots(devices, len(columns), sharex="col", sharey=True, squeeze=False)
    peaks = {label: _measured_peaks(timeline, timelines, len(columns)) for label, timeline in columns.items()}
    top = max(max((*_predicted_peaks(timeline), *peaks[label])) for label, timeline in columns.items())
    for column, (label, timeline) in enumerate(columns.items()):
        _column(list(grid[:, column]), label, timeline, peaks[label], top)
    for device, axes in enumerate(grid[:, 0]):
        axes.set_ylabel(f"device {device}\n({size_unit(top)[0]})", fontsize=SMALL, rotation=0, ha="right", va="center")
    return finish(figure, path, caption, _MARGINS, _handles(list(columns.values()), any(peaks.values())))


def _column(column: Sequence[Axes], label: str, timeline: Timeline, measured: Sequence[int], top: int) -> None:
    for device, axes in enumerate(column):
        axes.set_visible(device < timeline.devices)
        if device < timeline.devices:
            _panel(axes, timeline, device, measured, top)
    unit, _ = time_unit(timeline.end_ns)
    last = column[timeline.devices - 1]
    last.set_xlabel(f"time ({unit})", fontsize=SMALL + 0.5)
    last.tick_params(labelbottom=True)
    headline(column[0], label)


def _predicted_peaks(timeline: Timeline) -> list[int]:
    return [int(_held(timeline, device).total.max()) for device in range(timeline.devices)]


def _measured_peaks(column: Timeline, timelines: Mapping[str, Timeline], columns: int) -> tuple[int, ...]:
    for timeline in timelines.values():
        belongs = timeline.schedule == column.schedule or columns == 1
        if not timeline.memory and belongs and len(timeline.peak_memory_bytes) == column.devices:
            return timeline.peak_memory_bytes
    return ()


def _held(timeline: Timeline, device: int) -> _Held:
    """The running sums; a last moment at the iteration's end lets the last step be seen."""
    events = sorted((event for event in timeline.memory if event.device == device), key=lambda event: event.time_ns)
    times, place = np.unique([*(event.time_ns for event in events), timeline.end_ns], return_inverse=True)
    changes = {category: np.zeros(len(times), dtype=np.int64) for category in CATEGORY_COLOURS}
    for event, position in zip(events, place, strict=False):
        changes[event.category][position] += event.delta_bytes
    held = {category: np.cumsum(change) for category, change in changes.items() if change.any()}
    return _Held(times, held)


def _panel(axes: Axes, timeline: Timeline, device: int, measured: Sequence[int], top: int) -> None:
    held, (_, time_size), (unit, size) = _held(timeline, device), time_unit(timeline.end_ns), size_unit(top)
    times, rows = held.times_ns / time_size, list(held.by_category.values())
    colours = [CATEGORY_COLOURS[category] for category in held.by_category]
    if rows:
        axes.stackplot(times, [row / size for row in rows], colors=colours, step="post", linewidth=0)
        _mark_peak(axes, times, held.total / size, unit, below=bool(measured))
    if measured:
        axes.axhline(measured[device] / size, color=MEASURED, linestyle="--", linewidth=1.2)
        place = (timeline.end_ns / time_size, measured[device] / size)
        text = axes.annotate(f"measured {place[1]:.4g} {unit}", place, (-2, 2), textcoords="offset points")
        text.set(fontsize=SMALL - 0.5, color=MEASURED, horizontalalignment="right")
    axes.set_xlim(0, max(timeline.end_ns, 1) / time_size)
    axes.set_ylim(0, 1.28 * top / size)
    tidy(axes)


def _mark_peak(axes: Axes, times: NDArray[np.float64], total: NDArray[np.float64], unit: str, *, below: bool) -> None:
    """A dot where the peak is reached first, its size on the side that has room, below a measured line."""
    at = int(total.argmax())
    axes.plot([times[at]], [total[at]], marker="o", markersize=3.5, color="black", clip_on=False)
    sideways, align = (4, "left") if times[at] < times[-1] / 2 else (-4, "right")
    offset = (sideways, -9 if below else 3)
    text = axes.annotate(f"peak {total[at]:.4g} {unit}", (times[at], total[at]), offset, textcoords="offset points")
    text.set(fontsize=SMALL - 0.5, horizontalalignment=align)


def _handles(timelines: Sequence[Timeline], measured: bool) -> list[Artist]:
    categories = {event.category for timeline in timelines for event in timeline.memory if event.delta_bytes}
    handles: list[Artist] = [
        Patch(facecolor=colour, label=category)
        for category, colour in CATEGORY_COLOURS.items()
        if category in categories
    ]
    if measured:
        handles.append(Line2D([], [], color=MEASURED, linestyle="--", linewidth=1.2, label="measured peak"))
    return handles
