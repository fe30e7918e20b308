"""What a prediction costs on this machine, part by part, and beside torch's own dry run.

    python -m benchmarks.bench_simulator [--markdown] [--page docs/benchmarks.md] [--rounds 5] [--quick]

The goals in one table, and with --markdown all figures behind them. Every table is one run in which
its contestants take turns; figures are medians of processor time with their range over the rounds
in brackets. What they mean is said in docs/benchmarks.md.
"""

from __future__ import annotations

__all__ = ["into_page", "machine_line", "main", "report"]

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command_tables import compare_table, startup_table
from benchmarks.goals import goal_table
from benchmarks.setting import Section
from benchmarks.simulator_tables import compiled_table, engine_table, large_table
from benchmarks.torch_table import torch_table
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.atomic_file import write_text
from chimera.pipeline.files.provenance import provenance

FULL = ((8, 32), (16, 128), (32, 512))
QUICK = ((2, 4), (4, 8))
_MARKS = ("<!-- figures: begin -->", "<!-- figures: end -->")


def report(rounds: int, *, quick: bool = False) -> dict[str, Section]:
    """All tables by title; `quick` takes tiny sizes, which show that the command works and nothing else."""
    sizes = QUICK if quick else FULL
    largest = QUICK[-1] if quick else (128, 4096)
    found = {
        "The SimPy engine, microseconds per computation": engine_table(sizes, rounds),
        "The compiled engine, its graph built": compiled_table(sizes, 16 if quick else 1000, min(rounds, 3)),
        "Beside torch's dry run": torch_table(sizes[-1:] if quick else (sizes[0], sizes[-1]), rounds),
        "Very large schedules, generation included": large_table(largest, min(rounds, 3)),
        "Comparing the whole catalogue": compare_table(QUICK[-1] if quick else (64, 512), min(rounds, 3)),
        "Starting the command": startup_table(rounds),
    }
    goals = [goal for section in found.values() for goal in section.goals]
    return {"Goals": Section(goal_table(goals), goals), **found}


def machine_line(rounds: int, before: Sequence[float]) -> str:
    """When and on what: figures are worth nothing without it. `before` is the load average before the run."""
    origin = provenance()
    assert isinstance(origin["machine"], dict) and isinstance(origin["versions"], dict)
    machine = ", ".join(
        f"{value} {name}" if name == "cores" else str(value) for name, value in origin["machine"].items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    load = f"load average {before[0]:.2f} before, {os.getloadavg()[0]:.2f} after"
    return f"{str(origin['date'])[:16]} UTC: {machine}; {load}; {versions}; {rounds} rounds."


def into_page(text: str, page: str) -> str:
    """The page with `text` between its two marks; InputError if it has none."""
    head, begin, rest = page.partition(_MARKS[0])
    _, end, tail = rest.partition(_MARKS[1])
    if not begin or not end:
        raise InputError("the page", f"lacks the marks {_MARKS[0]} and {_MARKS[1]}", "give docs/benchmarks.md")
    return f"{head}{begin}\n\n{text}\n{end}{tail}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints goals and figures; with --markdown all tables, which --page puts into a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round")
    parser.add_argument("--markdown", action="store_true", help="print all tables, not the goals alone")
    parser.add_argument("--page", type=Path, help="also write all tables between the marks of this page")
    given = parser.parse_args(arguments)
    rounds = 1 if given.quick else given.rounds
    before = os.getloadavg()
    sections = report(rounds, quick=given.quick)
    line = machine_line(rounds, before)
    whole = "\n\n".join([line, *(f"### {title}\n\n{section.text}" for title, section in sections.items())]) + "\n"
    print(whole if given.markdown else f"{line}\n\n{sections['Goals'].text}")
    if given.page:
        write_text(given.page, into_page(whole, given.page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
