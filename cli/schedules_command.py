"""`chimera schedules`: every schedule there is."""

from __future__ import annotations

__all__ = ["HELP", "command"]

import typer

from chimera.cli.reports.output import note, print_json, print_table
from chimera.pipeline.schedules import catalogue

HELP = """List every schedule: name, aliases, constraints on D and N, options, source.

Examples:

    chimera schedules

    chimera schedules --json
"""


def command(as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout.")) -> None:
    """Prints the catalogue."""
    entries = catalogue()
    if as_json:
        documents = [
            {
                "name": item.name,
                "aliases": list(item.aliases),
                "constraints": item.constraints,
                "bubble": item.bubble,
                "activations": item.activations,
                "source": item.source,
                "options": {
                    key: {
                        "default": spec.default,
                        "choices": list(spec.choices) if spec.choices else None,
                        "help": spec.help,
                    }
                    for key, spec in item.options.items()
                },
            }
            for item in entries
        ]
        print_json({"schema_version": 1, "schedules": documents})
        return
    rows = [
        (
            "\n".join((item.name, *(f"  {alias}" for alias in item.aliases))),
            item.constraints,
            item.bubble,
            item.activations,
            "\n".join(
                f"{key}={'auto' if spec.default is None else spec.default}" for key, spec in item.options.items()
            ),
            item.source,
        )
        for item in entries
    ]
    print_table(
        "Schedules", ("name", "constraints", "bubble", "activations", "options", "source"), rows, numbers_from=9
    )
    note("next: chimera schedule chimera --stages 4 --microbatches 4")
