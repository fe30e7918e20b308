"""`chimera check`: judge any schedule file."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from enum import StrEnum
from pathlib import Path

import typer

from cli.output import note, print_json
from pipeline.errors import ScheduleError

HELP = """Judge a schedule file: soundness, and deadlock under a transport's semantics.

Exit status 1 with device, position and reason when it is unsound.

Examples:

    chimera check order.csv

    chimera check order.json --semantics rendezvous
"""


class Semantics(StrEnum):
    """What a transport makes wait."""

    BUFFERED = "buffered"
    RENDEZVOUS = "rendezvous"
    BATCHED = "batched"


class Dialect(StrEnum):
    """Which CSV spelling a file uses."""

    TORCH = "torch"
    ZERO_BUBBLE = "zero-bubble"


def command(
    file: Path = typer.Argument(..., help="torch's CSV or our JSON; lowered or not."),
    placement: Path | None = typer.Option(None, "--placement", help="JSON file: placement[replica][stage] = device."),
    semantics: Semantics = typer.Option(Semantics.BUFFERED, "--semantics", help="How sends and receives wait."),
    dialect: Dialect = typer.Option(Dialect.TORCH, "--dialect", help="CSV spelling: torch, or B/BW of older files."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Checks one file."""
    from pipeline.checks import check, check_plan
    from pipeline.files import read_placement, read_plan, read_schedule
    from pipeline.grid import text_grid

    where = read_placement(placement) if placement else None
    schedule = read_schedule(file, placement=where, dialect=dialect.value)
    try:
        check(schedule)
        check_plan(read_plan(file, placement=where, dialect=dialect.value), semantics.value)
    except ScheduleError as error:
        if as_json:
            print_json({"schema_version": 1, "sound": False, "device": error.device, "position": error.position,
                        "reason": str(error), "remedy": error.remedy})  # fmt: skip
        elif error.device is not None and error.position is not None and error.device < len(schedule.actions):
            mark = (error.device, min(error.position, max(len(schedule.actions[error.device]) - 1, 0)))
            note(text_grid(schedule, mark))
        raise
    actions = sum(map(len, schedule.actions))
    if as_json:
        print_json({"schema_version": 1, "sound": True, "semantics": semantics.value, "stages": schedule.stages,
                    "devices": schedule.devices, "microbatches": schedule.microbatches, "actions": actions})  # fmt: skip
    else:
        print(
            f"sound: {schedule.stages} stages on {schedule.devices} devices, {schedule.microbatches} micro-batches, "
            f"{actions} actions; no deadlock with {semantics.value} messages"
        )
