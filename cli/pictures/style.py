"""One look for all pictures: colours that colour-blind people can tell apart, sizes, the caption."""

from __future__ import annotations

__all__ = [
    "CATEGORY_COLOURS",
    "KIND_COLOURS",
    "KIND_NAMES",
    "MEASURED",
    "Margins",
    "PREDICTED",
    "SERIES",
    "SMALL",
    "TIME_UNITS",
    "arrange",
    "finish",
    "headline",
    "ink_on",
    "new_figure",
    "save",
    "shade",
    "size_unit",
    "tidy",
    "time_unit",
]

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from chimera.cli.reports.output import PICTURES
from chimera.pipeline.actions import Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.atomic_file import atomic_path

Colour = tuple[float, float, float]

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), made for all kinds of colour vision.
KIND_COLOURS = {
    Kind.F: "#56B4E9",
    Kind.B: "#E69F00",
    Kind.I: "#D55E00",
    Kind.W: "#F0E442",
    Kind.REDUCE_GRAD: "#CC79A7",
    Kind.STEP: "#4D4D4D",
}
KIND_NAMES = {
    Kind.F: "forward",
    Kind.B: "backward",
    Kind.I: "backward, inputs",
    Kind.W: "backward, weights",
    Kind.REDUCE_GRAD: "all-reduce",
    Kind.STEP: "optimizer",
}
CATEGORY_COLOURS = {
    "framework": "#BBBBBB",
    "weights": "#0072B2",
    "versions": "#999933",
    "optimizer": "#4D4D4D",
    "gradients": "#CC79A7",
    "activations": "#56B4E9",
    "buffers": "#009E73",
    "workspace": "#F0E442",
}
"""in the order in which they are stacked: what stays lies below what comes and goes"""
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
PREDICTED, MEASURED = "#0072B2", "#D55E00"
ROW = "#F0F0F0"
"""the ground of a device's row: what shows through is idle time"""
SMALL = 7.5
TIME_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "µs": 1_000, "ns": 1}
_DPI = 160
_CAPTION_LINE, _LEGEND_LINE = 0.15, 0.21


class Margins(NamedTuple):
    """Inches around the axes for labels and titles; legend and caption come on top of that."""

    left: float
    right: float
    top: float
    bottom: float


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, on the canvas that needs no display."""
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Figure, path: str | Path, caption: str, margins: Margins, handles: Sequence[Artist] = ()) -> Path:
    """Writes the figure with its legend below the axes and its caption at the bottom, as `arrange` and `save` do."""
    return save(arrange(figure, caption, margins, handles), path)


def save(figure: Figure, path: str | Path) -> Path:
    """Writes a figure; the suffix chooses the format. InputError for an unknown one, or where one cannot be written."""
    target = Path(path)
    if target.suffix.lower() not in PICTURES:
        raise InputError(f"picture {target.name!r}", "has no known suffix", f"end it in {', '.join(PICTURES)}")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format=target.suffix[1:].lower())
    return target


def arrange(figure: Figure, caption: str, margins: Margins, handles: Sequence[Artist] = ()) -> Figure:
    """Puts the legend below the axes and the caption at the bottom; the figure grows by the room that both need."""
    width, body = map(float, figure.get_size_inches())
    text = fill(caption, int(width * 16.5))
    lines = text.count("\n") + 1 if text else 0
    caption_room = lines * _CAPTION_LINE + 0.1
    columns = max(1, min(len(handles), int((width - 0.2) / _entry_width(handles))))
    rows = -(-len(handles) // columns)
    legend_room = _LEGEND_LINE * rows
    height = body + caption_room + legend_room
    figure.set_size_inches(width, height)
    bottom = (caption_room + legend_room + margins.bottom) / height
    figure.subplots_adjust(
        left=margins.left / width, right=1 - margins.right / width, bottom=bottom, top=1 - margins.top / height
    )
    figure.text(0.1 / width, 0.07 / height, text, fontsize=SMALL - 0.5, color="#666666", va="bottom", ha="left")
    if handles:
        _legend(figure, handles, -(-len(handles) // rows), caption_room / height)
    return figure


def _entry_width(handles: Sequence[Artist]) -> float:
    return 0.45 + 0.062 * max((len(str(handle.get_label())) for handle in handles), default=0)


def _legend(figure: Figure, handles: Sequence[Artist], columns: int, bottom: float) -> None:
    place = (0.5, bottom)
    legend = figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=place, ncols=columns, borderaxespad=0, borderpad=0.2
    )
    legend.set_frame_on(False)
    for text in legend.get_texts():
        text.set_fontsize(SMALL)


def headline(axes: Axes, title: str, detail: str = "") -> None:
    """A bold title, and under it a line of figures."""
    above = 20 if detail else 7
    for text, height, size, weight in ((title, above, SMALL + 3, "bold"), (detail, 6, SMALL, "normal")):
        written = axes.annotate(text, (0, 1), (0, height), "axes fraction", "offset points")
        written.set(fontsize=size, fontweight=weight, color="black" if weight == "bold" else "#444444")


def tidy(axes: Axes) -> None:
    """Only the lines that carry information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)


def shade(colour: str, part: int, parts: int) -> str:
    """One of `parts` shades of a colour: the first is the colour itself, the others are lighter."""
    if parts < 2:
        return colour
    weight = 0.55 * part / (parts - 1)
    red, green, blue = (channel + (1 - channel) * weight for channel in to_rgb(colour))
    return to_hex((red, green, blue))


def ink_on(colour: str) -> str:
    """Black or white, whichever is legible on the colour (relative luminance, WCAG 2.1)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 else "white"


def time_unit(longest_ns: float) -> tuple[str, int]:
    """The unit in which a time reads as a number from 1 to 1000, and its nanoseconds."""
    for name, size in TIME_UNITS.items():
        if longest_ns >= 1.5 * size:
            return name, size
    return "ns", 1


def size_unit(largest_bytes: float) -> tuple[str, int]:
    """The binary unit in which a size reads as a number from 1 to 1000, and its bytes."""
    for power, name in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if largest_bytes >= 1.5 * 1024**power:
            return name, 1024**power
    return "bytes", 1
