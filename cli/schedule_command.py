"""`chimera schedule`: the order of every device."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from enum import StrEnum
from pathlib import Path

import typer

from chimera.cli.options.selection import SETTINGS, select
from chimera.cli.reports.output import note, print_json, writable_file
from chimera.pipeline.errors import InputError

HELP = """Print the order of every device, as a grid, torch's CSV or JSON.

Examples:

    chimera schedule chimera --stages 4 --microbatches 4

    chimera schedule chimera --stages 8 --microbatches 16 --set pairs=2 --format json

    chimera schedule dapple --stages 4 --microbatches 8 --format csv --lowered --output dapple.csv
"""


class Format(StrEnum):
    """How a schedule is written."""

    GRID = "grid"
    CSV = "csv"
    JSON = "json"


def command(
    name: str = typer.Argument(..., help="A schedule's name, or a CSV or JSON file."),
    stages: int | None = typer.Option(None, "--stages", help="Devices of the pipeline, D."),
    microbatches: int | None = typer.Option(None, "--microbatches", help="Micro-batches per iteration, N."),
    settings: list[str] = SETTINGS,
    form: Format | None = typer.Option(None, "--format", help="grid (the default), csv (torch's dialect) or json."),
    lowered: bool = typer.Option(False, "--lowered", help="With every message, synchronisation and optimizer step."),
    output: Path | None = typer.Option(None, "--output", help="Write to this file instead of stdout."),
    as_json: bool = typer.Option(False, "--json", help="The same as --format json."),
) -> None:
    """Prints one schedule."""
    from chimera.pipeline.files.grid import text_grid
    from chimera.pipeline.files.schedule_file import schedule_csv, schedule_json
    from chimera.pipeline.lowering.lower import lower

    if as_json and form not in (None, Format.JSON):
        raise InputError(f"--json with --format {form}", "are two forms", "drop one of them")
    form = Format.JSON if as_json else form
    writable_file(output)
    schedule = select(name, stages, microbatches, settings)
    what = lower(schedule) if lowered else schedule
    if form is Format.JSON and output is None:
        print_json(schedule_json(what))
        return
    if form is Format.JSON:
        import json

        text = json.dumps(schedule_json(what)) + "\n"
    elif form is Format.CSV:
        text = schedule_csv(what)
    else:
        rows = lower(schedule).actions if lowered else None
        text = (text_grid(schedule) if rows is None else _listing(rows)) + "\n"
    if output is None:
        print(text, end="")
    else:
        from chimera.pipeline.files.atomic_file import write_text

        write_text(output, text)
        note(f"written: {output}")


def _listing(rows: object) -> str:
    assert isinstance(rows, tuple)
    return "\n".join(f"device {device}: " + " ".join(map(str, row)) for device, row in enumerate(rows))
