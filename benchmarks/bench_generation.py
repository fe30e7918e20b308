"""How long every schedule takes to generate, whether that grows with the number of actions, and torch beside it.

    python -m benchmarks.bench_generation [--stages 32] [--microbatches 512] [--rounds 5]

Processor seconds at (D, N), all schedules in turns; `growth` is the time per action there over that at
(D/2, N/2): 1 is linear. `torch` is torch.distributed.pipelining's generator of the same schedule,
timed in the same rounds. Medians, with the range in brackets.
"""

from __future__ import annotations

__all__ = ["generation_table", "main"]

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from benchmarks.torch_dry_run import PEERS, generate
from benchmarks.turns import in_turns, ratio, shown, table
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build, catalogue


def generation_table(stages: int, microbatches: int, rounds: int) -> str:
    """One row a schedule that can be built at this size."""
    built: dict[str, tuple[Schedule, Schedule]] = {}
    contestants: dict[str, Callable[[], object]] = {}
    for entry in catalogue():
        make = partial(build, entry.name)
        small = partial(make, stages=stages // 2, microbatches=microbatches // 2)
        large = partial(make, stages=stages, microbatches=microbatches)
        try:
            built[entry.name] = small(), large()
        except InputError:
            continue
        contestants |= {f"small {entry.name}": small, entry.name: large}
        if entry.name in PEERS:
            generate(entry.name, 2, 4)  # imports torch before the clock starts
            contestants[f"torch {entry.name}"] = partial(generate, entry.name, stages, microbatches)
    found = in_turns(contestants, rounds)
    rows = [_row(name, found, *schedules) for name, schedules in built.items()]
    return table(("schedule", "actions", "ms", "us an action", "growth", "torch ms", "torch / ours"), rows)


def _row(name: str, found: dict[str, list[float]], small: Schedule, large: Schedule) -> list[str]:
    few, many = (sum(map(len, schedule.actions)) for schedule in (small, large))
    ours, theirs = found[name], found.get(f"torch {name}")
    growth = [slope * few / many for slope in ratio(ours, found[f"small {name}"])]
    beside = ["", ""] if theirs is None else [shown(theirs, 1e3), shown(ratio(theirs, ours))]
    return [name, str(many), shown(ours, 1e3), f"{1e6 * median(ours) / many:.2f}", shown(growth, digits=2), *beside]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--stages", type=int, default=32)
    parser.add_argument("--microbatches", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    print(generation_table(given.stages, given.microbatches, given.rounds))


if __name__ == "__main__":
    main()
