"""What a prediction costs on this machine, part by part, and beside torch's own dry run.

    python -m benchmarks.bench_simulator [--quick] [--rounds 5] [--output docs/benchmarks.md]

Every table is one run in which its contestants take turns; figures are medians of processor time
with their range over the rounds in brackets. A *computation* is a forward or a (part of a) backward;
an *action* is anything in a lowered plan: computations, sends, receives, all-reduces and optimizer
steps, about 2.8 for each computation of Chimera. Unless a table says otherwise, costs have sizes,
links with latency, bandwidth, queues and host overheads, all-reduces and optimizer steps, and the
memory timeline is part of the prediction.
"""

from __future__ import annotations

__all__ = ["main", "report"]

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.simulator_tables import compiled_table, engine_table, large_table, startup_table, torch_table
from pipeline.atomic_file import write_text
from pipeline.provenance import provenance

FULL = ((8, 32), (16, 128), (32, 512))
QUICK = ((2, 4), (4, 8))


def report(rounds: int, *, quick: bool = False) -> str:
    """All tables as markdown; `quick` takes tiny sizes, which show that the command works and nothing else."""
    sizes = QUICK if quick else FULL
    largest = QUICK[-1] if quick else (128, 4096)
    sections = {
        "The SimPy engine, microseconds per computation": engine_table(sizes, rounds),
        "The compiled engine, its graph built": compiled_table(sizes, 16 if quick else 1000, rounds),
        "Beside torch's dry run": torch_table(sizes[-1:] if quick else (sizes[0], sizes[-1]), rounds),
        "Very large schedules, generation included": large_table(largest, min(rounds, 3)),
        "Starting the command": startup_table(rounds),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())


def _preamble(rounds: int) -> str:
    origin = provenance()
    assert __doc__ and isinstance(origin["machine"], dict) and isinstance(origin["versions"], dict)
    machine = ", ".join(
        f"{value} {name}" if name == "cores" else str(value) for name, value in origin["machine"].items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    explained = __doc__.split("\n\n", 2)[2].strip()
    return (
        f"# What a prediction costs\n\nWritten by `python -m benchmarks.bench_simulator --output` on "
        f"{str(origin['date'])[:10]}: {machine}; {versions}; {rounds} rounds.\n\n{explained}\n\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables, and writes them where --output says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round")
    parser.add_argument("--output", type=Path, help="markdown file")
    given = parser.parse_args(arguments)
    rounds = 1 if given.quick else given.rounds
    text = _preamble(rounds) + report(rounds, quick=given.quick) + "\n"
    print(text)
    if given.output:
        write_text(given.output, text)


if __name__ == "__main__":
    main()
