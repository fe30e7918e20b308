"""Data to stdout, everything else to stderr; folders are tried before anything is computed."""

from __future__ import annotations

__all__ = [
    "PICTURES",
    "caption",
    "drawable",
    "draws_into",
    "duration_ns",
    "note",
    "percent",
    "print_fitting_table",
    "print_json",
    "print_table",
    "some_time",
    "usable_folder",
    "writable_file",
]

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chimera.cli.reports.plain import visible
from chimera.pipeline.errors import InputError
from chimera.pipeline.units import parse_ns

PICTURES = (".png", ".svg", ".pdf")
"""suffixes of the formats that pictures are drawn in"""
_WIDTH, _WIDEST = 150, 10_000
"""columns of a table where nothing says how many there are, and where what is said cannot be meant"""


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(visible(text), file=sys.stderr, flush=True)


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=1, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int = 1) -> None:
    """A table on stdout; columns from `numbers_from` on are right-aligned. Obeys NO_COLOR and pipes."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def _plain(text: str) -> Text:
        return Text(visible(text))

    table = Table(title=_plain(title), title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(_plain(column), justify="right" if index >= numbers_from else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_plain, row))
    Console(width=_width()).print(table)


def print_fitting_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], first_to_go: Sequence[str]
) -> list[str]:
    """The table without the columns that the terminal is too narrow for, in this order; these."""
    kept, left_out = list(range(len(columns))), []
    widths = [
        max(len(text) for text in (column, *(row[place] for row in rows))) for place, column in enumerate(columns)
    ]
    room = _width() or shutil.get_terminal_size().columns
    for name in first_to_go:
        if sum(widths[place] + 3 for place in kept) + 1 <= room:
            break
        if name in columns:
            kept.remove(columns.index(name))
            left_out.append(name)
    print_table(title, [columns[place] for place in kept], [[row[place] for place in kept] for row in rows])
    return left_out


def _width() -> int | None:
    """Of a table: that of the terminal, which rich finds out, or what COLUMNS says."""
    columns = os.environ.get("COLUMNS", "")
    if sys.stdout.isatty():
        return None
    return int(columns) if columns.isascii() and columns.isdigit() and 0 < int(columns[:6]) <= _WIDEST else _WIDTH


def percent(ratio: float) -> str:
    """A ratio for people."""
    return f"{100 * ratio:.2f} %"


def caption(hardware: str = "") -> str:
    """What stands under every picture: hardware and date."""
    from datetime import date

    return " · ".join(part for part in (hardware, date.today().isoformat()) if part)


def duration_ns(option: str, text: str) -> int:
    """Nanoseconds of an option's value; InputError names the option."""
    try:
        return parse_ns(text)
    except InputError as error:
        raise InputError(f"{option} {text}", error.derived, error.remedy) from None


def some_time(option: str, text: str) -> float:
    """Seconds of an option's value; InputError names the option, for no time at all, too."""
    seconds = duration_ns(option, text) / 1e9
    if seconds <= 0:
        raise InputError(f"{option} {text}", "is no time at all", "give a time above 0")
    return seconds


def usable_folder(folder: Path) -> Path:
    """The folder, tried but not made; InputError, before anything is computed, if it cannot be written."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        # permissions alone do not tell: root passes every check, also on a read-only file system
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(
            f"output folder {folder}", error.strerror or str(error), "choose a folder you can write to"
        ) from error
    return folder


def writable_file(path: Path | None) -> Path | None:
    """The path, after trying its folder; None stays None."""
    if path is not None:
        usable_folder(path.parent)
        if path.is_dir():
            raise InputError(f"output {path}", "is a folder", "give the path of a file")
    return path


def drawable(path: Path | None) -> Path | None:
    """The path of a picture, after trying its folder and its suffix; None stays None."""
    if path is not None and path.suffix.lower() not in PICTURES:
        raise InputError(f"picture {path}", "has no known suffix", f"end it in {', '.join(PICTURES)}")
    return writable_file(path)


def draws_into(path: Path | None, draw: Callable[[Path], None]) -> None:
    """Draws a picture if a path was given, and says where it is."""
    if path is not None:
        draw(path)
        note(f"picture: {path}")
