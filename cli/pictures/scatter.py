"""Predicted against measured, a point per configuration: on the diagonal the prediction is exact."""

from __future__ import annotations

__all__ = ["draw_scatter", "scatter_figure"]

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from chimera.cli.pictures.style import SERIES, SMALL, Margins, arrange, headline, new_figure, save, tidy, time_unit

if TYPE_CHECKING:
    from chimera.calibration.judging.validation import Validation, ValidationCase

_MARGINS = Margins(left=0.75, right=0.2, top=0.55, bottom=0.5)
_SIDE, _SPACE = 3.7, 0.32
"""inches of a panel's side; the space between panels as a share of it"""
_MARKERS = "osD^v<>ph8"
_BAND = "#E8E8E8"


class _Point(NamedTuple):
    """One case in one panel: where it lies, and (low, high) of what is known of its spread."""

    measured: float
    predicted: float
    measured_range: tuple[float, float]
    predicted_range: tuple[float, float]


def draw_scatter(validation: Validation, path: str | Path, *, caption: str) -> Path:
    """Draws iteration times with the tolerance as a band, and bubble ratios beside them; returns the file's path."""
    return save(scatter_figure(validation, caption=caption), path)


def scatter_figure(validation: Validation, *, caption: str) -> Figure:
    """Iteration times with the tolerance as a band, and bubble ratios beside them, as a figure."""
    figure = new_figure(_SIDE * (2 + _SPACE) + _MARGINS.left + _MARGINS.right, _SIDE + _MARGINS.top + _MARGINS.bottom)
    times, bubbles = figure.subplots(1, 2, gridspec_kw={"wspace": _SPACE})
    cases = validation.cases
    unit, size = time_unit(1e9 * max((case.measured.iteration_s for case in cases), default=0.0))
    names, time_points = _names(cases), [_time_point(case, 1e9 / size) for case in cases]
    errors = [f"{name}  {case.error.iteration:+.1%}" for name, case in zip(names, cases, strict=True)]
    _panel(times, time_points, errors, f"iteration time ({unit})", validation.tolerance)
    _panel(bubbles, [_bubble_point(case) for case in cases], names, "bubble ratio (%)", None)
    summary = validation.summary
    headline(
        times,
        "Iteration time",
        f"mean error {summary.mean_abs_error_iteration:.1%}, worst {summary.worst_abs_error_iteration:.1%}, "
        f"repeat noise {validation.repeat_noise:.1%}",
    )
    headline(bubbles, "Bubble ratio", f"mean error {summary.mean_abs_error_bubble_points:.1f} points")
    return arrange(figure, caption, _MARGINS, _handles(validation))


def _time_point(case: ValidationCase, scale: float) -> _Point:
    low, high = case.interval.low * scale, case.interval.high * scale
    measured, predicted = case.measured.iteration_s * scale, case.predicted.iteration_s * scale
    spread = case.predicted_interval_s
    ours = (spread[0] * scale, spread[2] * scale) if spread else (predicted, predicted)
    return _Point(measured, predicted, (low, high), ours)


def _bubble_point(case: ValidationCase) -> _Point:
    measured, predicted = 100 * case.measured.bubble_ratio, 100 * case.predicted.bubble_ratio
    return _Point(measured, predicted, (measured, measured), (predicted, predicted))


def _panel(axes: Axes, points: Sequence[_Point], names: Sequence[str], what: str, tolerance: float | None) -> None:
    low, high = _limits(points)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel(f"measured {what}", fontsize=SMALL + 0.5)
    axes.set_ylabel(f"predicted {what}", fontsize=SMALL + 0.5)
    tidy(axes)
    ends = [0.0, high]
    if tolerance is not None:
        below, above = ([end * (1 + sign * tolerance) for end in ends] for sign in (-1, 1))
        axes.fill_between(ends, below, above, color=_BAND, linewidth=0, zorder=1)
    axes.plot(ends, ends, color="#888888", linewidth=0.8, zorder=2)
    for number, point in enumerate(points):
        _draw(axes, point, number)
    _label(axes, points, names)


def _limits(points: Sequence[_Point]) -> tuple[float, float]:
    values = [value for p in points for value in (p.measured, p.predicted, *p.measured_range, *p.predicted_range)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.12 * (high - low) or 0.1 * high or 1.0
    return max(0.0, low - room), high + room


def _draw(axes: Axes, point: _Point, number: int) -> None:
    x, y, across, along = point
    colour, marker = _look(number)
    axes.plot(across, (y, y), color=colour, linewidth=1.2, zorder=3)
    axes.plot((x, x), along, color=colour, linewidth=1.2, zorder=3)
    axes.plot([x], [y], marker=marker, color=colour, markersize=5.5, markeredgecolor="white", linestyle="", zorder=4)


def _look(number: int) -> tuple[str, str]:
    return SERIES[number % len(SERIES)], _MARKERS[number % len(_MARKERS)]


def _label(axes: Axes, points: Sequence[_Point], names: Sequence[str]) -> None:
    """Names right of their points, left for those near the right edge, pushed apart where they would meet."""
    low, high = axes.get_xlim()
    room = high - low
    for side, align in ((1, "left"), (-1, "right")):
        here = [i for i, p in enumerate(points) if (p.measured > low + 0.62 * room) == (side < 0)]
        here.sort(key=lambda i: points[i].predicted)
        heights = _apart([points[i].predicted - side * 0.04 * room for i in here], 0.052 * room, high)
        for i, height in zip(here, heights, strict=True):
            point, colour = points[i], _look(i)[0]
            x = point.measured + side * 0.075 * room
            axes.plot((point.measured, x), (point.predicted, height), color=colour, linewidth=0.5, zorder=2)
            text = axes.text(x + side * 0.008 * room, height, names[i], fontsize=SMALL, color="#222222", zorder=5)
            text.set(horizontalalignment=align, verticalalignment="center")


def _apart(wanted: Sequence[float], gap: float, top: float) -> list[float]:
    """Ascending heights at least `gap` apart, as near to the wanted ones as from below upwards allows."""
    placed: list[float] = []
    for height in wanted:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    excess = max(0.0, placed[-1] + gap / 2 - top) if placed else 0.0
    return [height - excess for height in placed]


def _names(cases: Sequence[ValidationCase]) -> list[str]:
    """The schedule's name, with its configuration where the name occurs more than once."""
    times = Counter(case.schedule for case in cases)
    return [
        case.schedule
        if times[case.schedule] == 1
        else f"{case.schedule} D={case.stages} N={case.microbatches}" + (f" W={case.width}" if case.width > 1 else "")
        for case in cases
    ]


def _handles(validation: Validation) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], color="#888888", linewidth=0.8, label="exact"),
        Patch(facecolor=_BAND, label=f"within ±{validation.tolerance:.1%}"),
        Line2D([], [], color="#444444", linewidth=1.2, label="95 % interval of the measurement (across)"),
    ]
    if any(case.predicted_interval_s for case in validation.cases):
        handles.append(Line2D([], [], color="#444444", linewidth=1.2, label="5 % to 95 % of the prediction (upright)"))
    return handles
