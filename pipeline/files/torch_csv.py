"""Schedules as torch.distributed.pipelining writes them: one row a rank, no header, `2F5` in a cell.

| in the file | reading | writing |
|---|---|---|
| empty cell | a no-op, skipped | never |
| SEND, RECV, REDUCE_GRAD ("compute_comms") | kept in a plan, dropped from a schedule | from a plan |
| UNSHARD, RESHARD (FSDP's parameters) | dropped with a logged note: our stages are not sharded | never |
| optimizer steps | none: a plan gets them at the end of each row | dropped |
| replicas, doubled forwards, half backwards | with a placement | refused: torch has no word for them |

The older dialect of the Zero-Bubble papers' code spells B for the input gradient and BW for the
full backward (`2BW0`). A file tells by itself which it is: only the older one has BW, or W without any I.
It is read and never written.

As in torch, cells may stand in quotes and blanks or tabulators around an action do not matter.
"""

from __future__ import annotations

__all__ = ["Dialect", "plan_csv", "read_rows", "schedule_csv"]

import csv
import io
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from chimera.pipeline.actions import Action, Kind, Step, parse_action
from chimera.pipeline.errors import InputError, ScheduleError
from chimera.pipeline.schedule import Plan, Schedule

Dialect = Literal["auto", "torch", "zero-bubble"]
"""how the file spells backwards; auto: as its own actions tell"""
_SHARDING = re.compile(r"[0-9]+(UNSHARD|RESHARD)")
_OLDER = re.compile(r"([0-9]+)(BW|B)([0-9]+)")
_NEWER_KIND = {"BW": "B", "B": "I"}
_BACKWARD = re.compile(r"(?<![0-9A-Z_])[0-9]+(BW|W|I)[0-9]")
_PAUSE = re.compile(r"\s*([;()])\s*")


class Cell(NamedTuple):
    """An action and the column (from 0) it stands in."""

    action: Step
    column: int


def read_rows(text: str, source: str, dialect: Dialect) -> tuple[tuple[Cell, ...], ...]:
    """The cells of every row, in order; `source` is the file's name for errors.

    Raises InputError naming row, device and column for a cell that is not exactly one action
    (junk behind it, a missing micro-batch, a byte order mark), ScheduleError for a repeated one.
    Blank lines at the end are ignored, elsewhere they are devices that do nothing.
    """
    table = _cells(text, source)
    while table and not any(table[-1]):
        table.pop()
    if not table:
        raise InputError(f"{source} is empty", "it holds no row of actions", "write one row of actions for each rank")
    if dialect == "auto":
        dialect = _dialect_of(cell for row in table for cell in row)
    rows, dropped = [], 0
    for device, row in enumerate(table):
        contents = dict(enumerate(row))
        kept = {column: text for column, text in contents.items() if text and not _SHARDING.fullmatch(text)}
        dropped += sum(map(bool, contents.values())) - len(kept)
        rows.append(_read_row(kept, device, source, dialect))
    if dropped:
        logging.getLogger(__name__).warning(
            "%s: %d UNSHARD/RESHARD actions dropped, our stages are not sharded", source, dropped
        )
    return tuple(rows)


def _cells(text: str, source: str) -> list[list[str]]:
    """The table as text, without quotes and what is blank around actions and around the parts of an overlapped pair."""
    try:
        return [[_PAUSE.sub(r"\1", cell.strip()) for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
    except csv.Error as error:
        raise InputError(f"{source} is no CSV", str(error), "write one row of actions for each rank") from None


def _dialect_of(cells: Iterable[str]) -> Dialect:
    """The older dialect has full backwards BW, or weight gradients W beside input gradients that are not I."""
    kinds = {match[1] for cell in cells for match in _BACKWARD.finditer(cell)}
    return "zero-bubble" if "BW" in kinds or ("W" in kinds and "I" not in kinds) else "torch"


def _read_row(contents: Mapping[int, str], device: int, source: str, dialect: Dialect) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    seen: dict[Step, int] = {}
    for column, content in contents.items():
        where = f"{source} row {device + 1} (device {device}), column {column + 1}"
        action = _read_cell(content, dialect, where)
        for part in (action, *action.parts):
            if seen.get(part, column) != column:
                raise ScheduleError(
                    f"{where}: {part}",
                    f"stands already in column {seen[part] + 1}",
                    "remove one of them",
                    device=device,
                    position=len(cells),
                )
            seen[part] = column
        cells.append(Cell(action, column))
    return tuple(cells)


def _read_cell(content: str, dialect: Dialect, where: str) -> Step:
    if content.startswith("\ufeff"):
        raise InputError(
            f"{where}: a byte order mark", "is not part of an action", "save the file as UTF-8 without BOM"
        )
    newer = content
    if dialect == "zero-bubble":
        newer = _OLDER.sub(lambda match: f"{match[1]}{_NEWER_KIND[match[2]]}{match[3]}", content)
    try:
        return parse_action(newer)
    except InputError as error:
        remedy = error.remedy
        if dialect == "torch" and re.fullmatch(r"[0-9]+BW[0-9]+", content):
            remedy = "BW is the older dialect's full backward: read the file with dialect 'zero-bubble'"
        raise InputError(f"{where}: {content!r}", error.derived, remedy) from None


def schedule_csv(schedule: Schedule) -> str:
    """The compute order, for torch's `_load_csv(format="compute_only")`; torch adds communication itself.

    Raises ScheduleError if torch cannot run the schedule: the same stage on several devices
    (Chimera, GEMS, DualPipe, data-parallel), grouped or halved micro-batches, asynchronous updates.
    """
    _refuse_what_torch_cannot(schedule)
    return _table(schedule.actions)


def plan_csv(plan: Plan) -> str:
    """Computation and communication, for torch's `_load_csv(format="compute_comms")`.

    torch scales and reduces gradients at REDUCE_GRAD and has no optimizer steps, so steps are left
    out and every stage without a REDUCE_GRAD gets one after its last backward. Raises as
    `schedule_csv`.
    """
    _refuse_what_torch_cannot(plan.schedule)
    return _table([list(_with_reduce_grad(row)) for row in plan.actions])


def _with_reduce_grad(row: Sequence[Step]) -> Iterable[Step]:
    last = {part.stage: place for place, action in enumerate(row) for part in action.parts if part.kind in "BW"}
    reduced = {action.stage for action in row if isinstance(action, Action) and action.kind is Kind.REDUCE_GRAD}
    for place, action in enumerate(row):
        if action.kind is not Kind.STEP:
            yield action
        for part in action.parts:
            if last.get(part.stage) == place and part.stage not in reduced:
                yield Action(part.stage, Kind.REDUCE_GRAD)


def _table(rows: Iterable[Iterable[Step]]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def _refuse_what_torch_cannot(schedule: Schedule) -> None:
    remedy = "export it as JSON instead (--format json, with --lowered for the plan)"
    given = f"schedule {schedule.name!r} cannot be written as torch CSV"
    if any(len(schedule.replica_devices(stage)) > 1 for stage in range(schedule.stages)):
        derived = (
            f"it holds {schedule.replicas} replicas of each stage, "
            "and torch wants each on one rank that sees every micro-batch"
        )
        raise ScheduleError(given, derived, remedy)
    if schedule.update != "flush":
        raise ScheduleError(
            given, f"it updates weights without a flush ({schedule.update}), which torch never does", remedy
        )
    for device, row in enumerate(schedule.actions):
        if not row:
            raise ScheduleError(given, f"device {device} computes nothing, which torch refuses", remedy, device=device)
        for position, action in enumerate(row):
            if any(part.also >= 0 or part.half >= 0 for part in action.parts):
                raise ScheduleError(
                    given,
                    f"{action} covers two micro-batches or half of one, for which torch has no word",
                    remedy,
                    device=device,
                    position=position,
                )
