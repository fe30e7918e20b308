"""`chimera check`: judge any schedule file."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from collections.abc import Sequence
from pathlib import Path

import typer

from chimera.cli.reports.output import note, print_json
from chimera.pipeline.actions import Step
from chimera.pipeline.errors import ScheduleError
from chimera.pipeline.files.torch_csv import Dialect
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.soundness.replay import Semantics

HELP = """Judge a schedule file: soundness, and deadlock under a transport's semantics.

Exit status 1 with device, position and reason when it is unsound.

Examples:

    chimera check order.csv

    chimera check order.json --semantics rendezvous
"""


def command(
    file: Path = typer.Argument(..., help="torch's CSV or our JSON; lowered or not."),
    placement: Path | None = typer.Option(None, "--placement", help="JSON file: placement[replica][stage] = device."),
    semantics: Semantics = typer.Option("buffered", "--semantics", help="How sends and receives wait."),
    dialect: Dialect = typer.Option("auto", "--dialect", help="CSV spelling: torch, or B/BW of older files."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Checks one file."""
    from chimera.pipeline.files.grid import text_grid
    from chimera.pipeline.files.schedule_file import plan_from, read_file, read_placement
    from chimera.pipeline.soundness.check import check, check_plan

    where = read_placement(placement) if placement else None
    schedule: Schedule | None = None
    rows: Sequence[Sequence[Step]] | None = None
    try:
        parsed = read_file(file, placement=where, dialect=dialect)
        schedule = parsed.schedule
        check(schedule)
        rows = parsed.rows if parsed.lowered else None
        plan = plan_from(parsed, semantics)
        rows = plan.actions
        check_plan(plan, semantics)
    except ScheduleError as error:
        if as_json:
            _print_verdict(
                semantics,
                False,
                device=error.device,
                position=error.position,
                reason=error.problem,
                remedy=error.remedy,
            )
        elif schedule is not None and (mark := _cell(error, schedule, rows)):
            note(text_grid(schedule, mark))
        raise
    actions = sum(map(len, schedule.actions))
    if as_json:
        sizes = {"stages": schedule.stages, "devices": schedule.devices, "microbatches": schedule.microbatches}
        _print_verdict(semantics, True, **sizes, actions=actions)
    else:
        print(
            f"sound: {schedule.stages} stages on {schedule.devices} devices, {schedule.microbatches} micro-batches, "
            f"{actions} actions; no deadlock with {semantics} messages"
        )


def _print_verdict(semantics: Semantics, sound: bool, **more: object) -> None:
    print_json({"schema_version": 1, "sound": sound, "semantics": semantics, **more})


def _cell(error: ScheduleError, schedule: Schedule, rows: Sequence[Sequence[Step]] | None) -> tuple[int, int] | None:
    """The cell of the compute grid that an error is about; of rows with messages, the computation it stands before."""
    device, position = error.device, error.position
    if device is None or position is None or device >= len(schedule.actions):
        return None
    if rows is not None:
        position = sum(action.is_compute for action in rows[device][:position])
    return device, min(position, max(len(schedule.actions[device]) - 1, 0))
