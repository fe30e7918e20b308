"""One device's timeline as a row of bars: work above, all-reduces and optimizer in a strip below."""

from __future__ import annotations

__all__ = ["Bar", "Scale", "draw_row", "legend_handles", "row_width", "time_axis"]

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from chimera.cli.pictures.parts import Parts
from chimera.cli.pictures.style import KIND_COLOURS, KIND_NAMES, ROW, SMALL, ink_on, shade, tidy, time_unit
from chimera.pipeline.actions import COMPUTE, Action, Kind
from chimera.pipeline.timeline import Span, Timeline

_STRIP = 0.24
"""share of the row that the strip takes, if the timeline has anything for it"""
_SMALLEST_FONT = 4.5
_CHARACTER = 0.64
"""width of a digit in font sizes"""
_SHOWN_SHADES = 4


class Bar(NamedTuple):
    """A rectangle in nanoseconds and rows, what it stands for, its colour, and the text inside."""

    kind: Kind
    start_ns: int
    end_ns: int
    top: float
    height: float
    colour: str
    text: str


class Scale(NamedTuple):
    """How data become ink: nanoseconds per unit of the axis, inches per nanosecond and per row."""

    unit_ns: int
    inches_per_ns: float
    inches_per_row: float


def time_axis(axes: Axes, end_ns: int, width: float, rows: float, row_inches: float) -> Scale:
    """Prepares axes of about `width` inches for times from 0 to `end_ns` and rows from the top down."""
    unit, unit_ns = time_unit(end_ns)
    axes.set_xlim(0, max(end_ns, 1) * 1.005 / unit_ns)
    axes.set_ylim(rows, 0)
    axes.set_xlabel(f"time ({unit})", fontsize=SMALL + 0.5)
    tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return Scale(unit_ns, width / max(end_ns, 1), row_inches)


def row_width(timelines: Sequence[Timeline]) -> float:
    """Inches for a row such that numbers fit in the bars, within what still reads as one picture."""
    counts = Counter((i, span.device) for i, t in enumerate(timelines) for span in t.spans if span.stream == "compute")
    return min(15.0, max(9.5, 0.2 * max(counts.values(), default=0)))


def draw_row(
    axes: Axes, timeline: Timeline, device: int, top: float, height: float, parts: Parts, scale: Scale
) -> None:
    """Draws a device between y = `top` and `top + height` (the axis points down)."""
    strip = _STRIP * height if _has_strip(timeline) else 0.0
    axes.broken_barh([(0, timeline.end_ns / scale.unit_ns)], (top, height), facecolors=ROW, zorder=1)
    spans = [span for span in timeline.spans if span.device == device and span.end_ns > span.start_ns]
    bars = [bar for span in spans for bar in _bars(span, top, height - strip, strip, parts)]
    if not bars:
        return
    widths = sorted((bar.end_ns - bar.start_ns) * scale.inches_per_ns for bar in bars)
    edge = 0.5 if widths[len(widths) // 2] > 0.04 else 0.0  # a white line would hide thin bars
    corners = [_corners(bar, scale.unit_ns) for bar in bars]
    colours = [bar.colour for bar in bars]
    axes.add_collection(PolyCollection(corners, facecolors=colours, edgecolors="white", linewidths=edge, zorder=2))
    _write_numbers(axes, bars, scale)


def _has_strip(timeline: Timeline) -> bool:
    return any(span.stream != "compute" and span.end_ns > span.start_ns for span in timeline.spans)


def _bars(span: Span, top: float, work: float, strip: float, parts: Parts) -> Iterator[Bar]:
    """An overlapped forward and backward share the height; all-reduces lie above optimizer steps."""
    _, stream, action, start, end = span
    if stream != "compute":
        offset = 0.0 if stream == "sync" else strip / 2
        yield Bar(action.kind, start, end, top + work + offset, strip / 2, KIND_COLOURS[action.kind], "")
        return
    height = work / len(action.parts)
    for position, part in enumerate(action.parts):
        colour = shade(KIND_COLOURS[part.kind], parts.of(span.device, part), parts.count)
        yield Bar(part.kind, start, end, top + height * position, height, colour, _number(part))


def _number(action: Action) -> str:
    text = "+".join(map(str, action.microbatches))
    return text if action.half < 0 else f"{text}{'ab'[action.half]}"


def _corners(bar: Bar, unit_ns: int) -> list[tuple[float, float]]:
    left, right, bottom = bar.start_ns / unit_ns, bar.end_ns / unit_ns, bar.top + bar.height
    return [(left, bar.top), (right, bar.top), (right, bottom), (left, bottom)]


def _write_numbers(axes: Axes, bars: Sequence[Bar], scale: Scale) -> None:
    """Micro-batch numbers, for each kind in the one size that fits its usual bar, or none."""
    groups: dict[Kind, list[Bar]] = defaultdict(list)
    for bar in bars:
        groups[bar.kind].append(bar)
    for group in groups.values():
        widths = [(bar.end_ns - bar.start_ns) * scale.inches_per_ns * 72 for bar in group]
        longest, height = (
            max(len(bar.text) for bar in group),
            min(bar.height for bar in group) * scale.inches_per_row * 72,
        )
        size = min(SMALL + 0.5, median(widths) / (_CHARACTER * longest + 0.3), height * 0.72)
        for bar, width in zip(group, widths, strict=True):
            if size >= _SMALLEST_FONT and width >= _CHARACTER * size * len(bar.text):
                _write(axes, bar, size, scale.unit_ns)


def _write(axes: Axes, bar: Bar, size: float, unit_ns: int) -> None:
    x, y = (bar.start_ns + bar.end_ns) / 2 / unit_ns, bar.top + bar.height / 2
    text = axes.text(x, y, bar.text, fontsize=size, color=ink_on(bar.colour), clip_on=True, zorder=3)
    text.set(horizontalalignment="center", verticalalignment="center_baseline")
    text.set_in_layout(False)  # or the layout would measure every number


def legend_handles(timelines: Sequence[Timeline], parts: Parts) -> list[Patch]:
    """A patch for every kind and shade that occurs, and one for idle time."""
    shown = (span.action for timeline in timelines for span in timeline.spans if span.end_ns > span.start_ns)
    kinds = {part.kind for action in shown for part in action.parts}
    handles = [patch for kind in KIND_COLOURS if kind in kinds for patch in _patches(kind, parts)]
    return [*handles, Patch(facecolor=ROW, edgecolor="#BBBBBB", linewidth=0.5, label="idle")]


def _patches(kind: Kind, parts: Parts) -> Iterator[Patch]:
    count = parts.count if kind in COMPUTE else 1
    if not 1 < count <= _SHOWN_SHADES:
        yield Patch(facecolor=KIND_COLOURS[kind], label=KIND_NAMES[kind])
        return
    for part in range(count):
        yield Patch(facecolor=shade(KIND_COLOURS[kind], part, count), label=f"{KIND_NAMES[kind]}, {parts.noun} {part}")
