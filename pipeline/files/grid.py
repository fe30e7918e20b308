"""A schedule as text: one line a device, one column a slot, as torch draws it."""

from __future__ import annotations

__all__ = ["text_grid"]

from chimera.pipeline.lowering.order import walk
from chimera.pipeline.schedule import Schedule

_WIDEST = 400
_ERROR = "<-- ERROR HERE"


def text_grid(schedule: Schedule, mark: tuple[int, int] | None = None, *, widest: int = _WIDEST) -> str:
    """The compute order in unit slots (forward 1, backward 2); `.` is an idle slot, `=` goes on.

    `mark` = (device, position) points at a cell. A schedule that is stuck, marked, or wider than
    `widest` characters is drawn in order, without slots, and the first line says so and why.
    """
    timing = walk(schedule.actions, schedule.stages)
    slots = max((row[-1] for row in timing.ends if row), default=0)
    cell = max((len(str(action)) for row in schedule.actions for action in row), default=1) + 1
    if timing.missing:
        return _in_order(schedule, mark, cell, widest, "devices wait for one another")
    if mark is not None:
        return _in_order(schedule, mark, cell, widest, "")
    if slots * cell > widest:
        return _in_order(schedule, mark, cell, widest, f"{slots} slots of {cell} characters are wider than {widest}")
    lines = [_header("slot", slots, cell)]
    for device, row in enumerate(schedule.actions):
        cells = ["."] * slots
        for action, start, end in zip(row, timing.starts[device], timing.ends[device], strict=True):
            cells[start:end] = [str(action), *["="] * (end - start - 1)]
        lines.append(_line(device, cells, cell))
    return "\n".join(lines)


def _in_order(schedule: Schedule, mark: tuple[int, int] | None, cell: int, widest: int, why: str) -> str:
    """Cells by position; long rows are cut around the mark, or after what fits."""
    longest = max((len(row) for row in schedule.actions), default=0)
    room = max(widest // cell, 1)
    first = max(min(mark[1] - room // 2, longest - room), 0) if mark else 0
    last = min(first + room, longest)
    shown = f"positions {first} to {last - 1} of {longest}" if last > first else "nothing to do"
    title = f"in order, without slots{f' ({why})' if why else ''}; {shown}"
    lines = [title, _header("step", last, cell, first)]
    for device, row in enumerate(schedule.actions):
        cells = [str(action) for action in row[first:last]]
        line = _line(device, cells, cell)
        if mark and mark[0] == device:
            line += f"\n{' ' * (12 + cell * (mark[1] - first))}^{_ERROR} (device {device}, position {mark[1]})"
        lines.append(line)
    return "\n".join(lines)


def _header(noun: str, last: int, cell: int, first: int = 0) -> str:
    return f"{noun:<12}" + "".join(f"{number:<{cell}}" for number in range(first, last)).rstrip()


def _line(device: int, cells: list[str], cell: int) -> str:
    return f"{f'device {device}':<12}" + "".join(f"{text:<{cell}}" for text in cells).rstrip()
