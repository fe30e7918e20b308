"""The tables of `benchmarks.bench_simulator` that time whole commands, in seconds of wall time."""

from __future__ import annotations

__all__ = ["compare_table", "startup_table"]

import os
import subprocess
import sys
from time import perf_counter

from benchmarks.goals import Goal
from benchmarks.setting import Section, Size
from benchmarks.turns import Seconds, shown, table

_COSTS = ("--forward=1ms", "--backward=2ms")


def startup_table(rounds: int) -> Section:
    """Wall time of whole processes."""
    commands = {
        "chimera --help": ["--help"],
        "chimera simulate": ["simulate", "dapple", "--stages=4", "--microbatches=8", *_COSTS],
    }
    found: dict[str, Seconds] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            found[name].append(_wall_s(*arguments))
    rows = [[name, shown(seconds, digits=2)] for name, seconds in found.items()]
    return Section(table(("command", "seconds of wall time"), rows), [])


def compare_table(size: Size, rounds: int) -> Section:
    """`chimera compare` of the whole catalogue, side by side on the cores there are."""
    stages, microbatches = size
    arguments = ("compare", f"--stages={stages}", f"--microbatches={microbatches}", *_COSTS)
    cores = len(os.sched_getaffinity(0))
    found = [_wall_s(*arguments) for _ in range(rounds)]
    goals = [Goal(f"chimera compare, all schedules, D={stages} N={microbatches}, {cores} cores", 20, "s", found)]
    head = ("D, N", "cores", "seconds of wall time")
    return Section(table(head, [[f"{stages}, {microbatches}", str(cores), shown(found)]]), goals)


def _wall_s(*arguments: str) -> float:
    begin = perf_counter()
    command = [sys.executable, "-c", "from chimera.cli import main; main()", *arguments]
    subprocess.run(command, check=True, capture_output=True)
    return perf_counter() - begin
