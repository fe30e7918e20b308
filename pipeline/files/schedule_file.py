"""Schedules in files: torch's CSV and our JSON, read and written."""

from __future__ import annotations

__all__ = ["plan_from", "read_file", "read_placement", "read_plan", "read_schedule", "schedule_csv", "schedule_json"]

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from chimera.pipeline.actions import COMMUNICATION, Action, Kind, Step
from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.files import schedule_json as documents
from chimera.pipeline.files import torch_csv
from chimera.pipeline.files.csv_inference import infer_schedule
from chimera.pipeline.files.schedule_json import Parsed
from chimera.pipeline.files.torch_csv import Dialect
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.soundness.check import check
from chimera.pipeline.soundness.deadlock import check_waits
from chimera.pipeline.soundness.replay import Semantics

Placement = Sequence[Sequence[int]]
_LOWERED = COMMUNICATION | {Kind.REDUCE_GRAD, Kind.STEP}


def schedule_json(schedule: Schedule | Plan) -> dict[str, Any]:
    """The JSON document of a schedule, or of a plan with everything lowering added."""
    return documents.plan_json(schedule) if isinstance(schedule, Plan) else documents.schedule_json(schedule)


def schedule_csv(schedule: Schedule | Plan) -> str:
    """torch's CSV: of a schedule its "compute_only" format, of a plan its "compute_comms" format.

    Raises ScheduleError for what torch cannot run (Chimera, GEMS, DualPipe, ...).
    """
    return torch_csv.plan_csv(schedule) if isinstance(schedule, Plan) else torch_csv.schedule_csv(schedule)


def read_schedule(path: Path | str, *, placement: Placement | None = None, dialect: Dialect = "auto") -> Schedule:
    """The schedule in a CSV or JSON file (told apart by content), its compute actions only.

    A CSV names no placement: without replicas it is inferred, with replicas give `placement`
    (`placement[replica][stage]` is a device). Soundness is `chimera.pipeline.soundness.check.check`'s business.
    Raises InputError for an unreadable file, with row and column or the path of the key.
    """
    return read_file(path, placement=placement, dialect=dialect).schedule


def read_plan(
    path: Path | str,
    *,
    placement: Placement | None = None,
    dialect: Dialect = "auto",
    semantics: Semantics = "buffered",
) -> Plan:
    """The plan in a file, as it stands; a file that holds computation only is lowered.

    That lowering is free to place receives, so it is made safe for `semantics`.

    A lowered CSV has no optimizer steps: they are added at the end of each row. Raises
    ScheduleError if the schedule is unsound or the rows cannot run to their end.
    """
    return plan_from(read_file(path, placement=placement, dialect=dialect), semantics)


def plan_from(parsed: Parsed, semantics: Semantics = "buffered") -> Plan:
    """The plan of a file that was read: see `read_plan`."""
    schedule, rows, lowered, order = parsed
    check(schedule)
    if not lowered:
        return lower(schedule) if semantics == "buffered" else rendezvous_safe(lower(schedule))
    if order is None:
        order = tuple(check_waits(Plan(schedule, rows, ()), "buffered").order)
    return Plan(schedule, rows, order)


def read_placement(path: Path | str) -> tuple[tuple[int, ...], ...]:
    """A placement from a JSON file: a list of rows, or an object with the key `placement`."""
    source = Path(path).name
    try:
        loaded = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{source}: not JSON at line {error.lineno}, column {error.colno}", error.msg) from None
    rows = loaded.get("placement") if isinstance(loaded, dict) else loaded
    if not (isinstance(rows, list) and rows and all(isinstance(row, list) and row for row in rows)):
        raise InputError(
            f"{source}: no placement", "needs rows of devices", "write for example [[0, 1, 2, 3], [3, 2, 1, 0]]"
        )
    if not all(type(device) is int and device >= 0 for row in rows for device in row):
        raise InputError(
            f"{source}: placement", "devices are whole numbers from 0", "write for example [[0, 1], [1, 0]]"
        )
    return tuple(map(tuple, rows))


def read_file(path: Path | str, *, placement: Placement | None = None, dialect: Dialect = "auto") -> Parsed:
    """All that a CSV or JSON file holds: its schedule, its rows as they stand, and whether they are lowered.

    Raises InputError as `read_schedule` does; whether the schedule is sound is not asked.
    """
    if dialect not in get_args(Dialect):
        raise UnknownNameError("dialect", dialect, get_args(Dialect))
    text, source = _text(path), Path(path).name
    if text.lstrip().startswith(("{", "[")):
        if placement is not None:
            raise InputError(f"{source} is JSON", "it has a placement of its own", "leave the placement out")
        return documents.parse_document(text, source)
    cells = torch_csv.read_rows(text, source, dialect)
    schedule = infer_schedule(cells, Path(path), placement)
    rows = tuple(tuple(cell.action for cell in row) for row in cells)
    lowered = any(action.kind in _LOWERED for row in rows for action in row)
    if lowered:
        rows = tuple(_with_steps(row, schedule, device) for device, row in enumerate(rows))
    return Parsed(schedule, rows, lowered, None)


def _with_steps(row: tuple[Step, ...], schedule: Schedule, device: int) -> tuple[Step, ...]:
    there = {action.stage for action in row if isinstance(action, Action) and action.kind is Kind.STEP}
    return row + tuple(Action(stage, Kind.STEP) for stage in schedule.stages_on(device) if stage not in there)


def _text(path: Path | str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}", error.strerror or "cannot be read", "check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}", f"byte {error.start} is not UTF-8", "save the file as plain UTF-8 text") from None
