"""How long every schedule takes to generate, and whether that grows with the number of actions.

    python -m benchmarks.bench_generation [--stages 32] [--microbatches 512]

Prints seconds at (D, N), and the time per action there over that at (D/2, N/2): 1 is linear growth.
Medians of three runs, processor time.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import process_time

from pipeline.errors import InputError
from pipeline.schedule import Schedule
from pipeline.schedules import build, catalogue

_RUNS = 3


def timed(name: str, stages: int, microbatches: int) -> tuple[float, Schedule]:
    """Median processor seconds of a generation, and what it made."""
    times = []
    for _ in range(_RUNS):
        started = process_time()
        schedule = build(name, stages=stages, microbatches=microbatches)
        times.append(process_time() - started)
    return median(times), schedule


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", type=int, default=32)
    parser.add_argument("--microbatches", type=int, default=512)
    given = parser.parse_args()
    print(f"{'schedule':<16}{'actions':>10}{'seconds':>10}{'us/action':>11}{'growth':>8}")
    for entry in catalogue():
        try:
            small_s, small = timed(entry.name, given.stages // 2, given.microbatches // 2)
            large_s, large = timed(entry.name, given.stages, given.microbatches)
        except InputError as error:
            print(f"{entry.name:<16}{error}")
            continue
        few, many = (sum(map(len, schedule.actions)) for schedule in (small, large))
        growth = (large_s / many) / (small_s / few)
        print(f"{entry.name:<16}{many:>10}{large_s:>10.3f}{1e6 * large_s / many:>11.2f}{growth:>8.2f}")


if __name__ == "__main__":
    main()
