"""The loss of every step, one curve a schedule: they must lie on one another."""

from __future__ import annotations

__all__ = ["draw_losses"]

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from chimera.cli.pictures.style import SERIES, SMALL, Margins, finish, headline, new_figure, tidy

_MARGINS = Margins(left=0.62, right=0.15, top=0.55, bottom=0.42)
_WIDTH, _HEIGHT = 7.0, 3.2
_DASHES = ("-", (0, (6, 2)), (0, (2, 2)), (0, (1, 3)))


def draw_losses(losses: Mapping[str, Sequence[float]], path: str | Path, *, title: str, caption: str) -> Path:
    """Draws curves, each thinner and more broken than the last, so that equal ones can be seen; returns the path."""
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = figure.add_subplot()
    handles = []
    for number, (label, values) in enumerate(losses.items()):
        (line,) = axes.plot(
            range(1, len(values) + 1),
            values,
            label=label,
            color=SERIES[number % len(SERIES)],
            linestyle=_DASHES[number % len(_DASHES)],
            linewidth=max(3.0 - 0.6 * number, 1.0),
            marker="o" if len(values) == 1 else "",
        )
        handles.append(line)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("step", fontsize=SMALL)
    axes.set_ylabel("loss", fontsize=SMALL)
    tidy(axes)
    ends = ", ".join(f"{label} {values[-1]:.4g}" for label, values in losses.items() if values)
    headline(axes, title, f"last: {ends}" if len(ends) < 110 else "")
    return finish(figure, path, caption, _MARGINS, handles)
