"""How values show themselves: one line, a small table in a notebook, flat records for a data frame."""

from __future__ import annotations

__all__ = ["LONGEST", "Plain", "Record", "facts_table", "records_table", "show_line"]

from collections.abc import Sequence
from html import escape

Plain = str | int | float | bool | None
Record = dict[str, Plain]
"""flat: one row of a data frame, units in the names"""
LONGEST = 160
"""characters of a line, and of a cell; names of the user's own may be of any length"""
_MOST_ROWS = 20


def show_line(noun: str, subject: str, facts: Sequence[str]) -> str:
    """`<Noun subject: fact, fact>`, cut where it gets too long; whatever stands in names stays on one line."""
    text = " ".join(f"{noun} {subject}: {', '.join(facts)}".split())
    return f"<{text}>" if len(text) <= LONGEST else f"<{text[:LONGEST]}...>"


def facts_table(title: str, record: Record) -> str:
    """HTML: a row for every fact that is known."""
    rows = [
        f"<tr><th>{_cell(name)}</th><td>{_cell(fact)}</td></tr>" for name, fact in record.items() if fact is not None
    ]
    return _table(title, rows)


def records_table(title: str, records: Sequence[Record], total: int | None = None) -> str:
    """HTML: a row for each of the first records, a column for each fact known of any; how many of `total` it lacks."""
    shown = records[:_MOST_ROWS]
    names = list(dict.fromkeys(name for record in shown for name, fact in record.items() if fact is not None))
    rows = [_row("th", names)] if shown else []
    rows += [_row("td", [record.get(name) for name in names]) for record in shown]
    left_out = (len(records) if total is None else total) - len(shown)
    if left_out:
        rows.append(f'<tr><td colspan="{len(names)}">and {left_out} more</td></tr>')
    return _table(title, rows)


def _table(title: str, rows: Sequence[str]) -> str:
    return f"<table><caption>{_cell(title)}</caption>{''.join(rows)}</table>"


def _row(tag: str, cells: Sequence[Plain]) -> str:
    return "<tr>" + "".join(f"<{tag}>{_cell(cell)}</{tag}>" for cell in cells) + "</tr>"


def _cell(value: Plain) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")
