"""Our predictions beside torch's own dry run of the same schedule."""

from __future__ import annotations

__all__ = ["torch_table"]

from collections.abc import Sequence
from functools import partial

from benchmarks.goals import Goal
from benchmarks.setting import PROFILE, Section, Size, anew
from benchmarks.torch_dry_run import PEERS, dry_run, generate
from benchmarks.turns import Seconds, in_turns, ratio, shown, table
from chimera.pipeline.schedules import build
from chimera.simulator import simulate


def torch_table(sizes: Sequence[Size], rounds: int) -> Section:
    """Generation, lowering and simulation: ours with times, messages and memory, torch's in unit steps."""
    rows: list[list[str]] = []
    goals: list[Goal] = []
    for devices, microbatches in sizes:
        for name in ("dapple", "interleaved", "zb-v"):
            schedule = build(name, stages=devices, microbatches=microbatches)
            _warm_up(name)
            found = in_turns(
                {
                    "ours": partial(_predicted, name, devices, microbatches),
                    "generation": partial(generate, name, devices, microbatches),
                    "dry run": dry_run(schedule),
                },
                rounds if microbatches < 100 else min(rounds, 3),
            )
            theirs: Seconds = list(map(sum, zip(found["generation"], found["dry run"], strict=True)))
            what = f"torch's dry run of {name} / ours, D={devices} N={microbatches}"
            goals.append(Goal(what, 1, "", ratio(theirs, found["ours"]), at_least=True))
            figures = (found["ours"], found["generation"], found["dry run"])
            rows.append(
                [f"{name} / {PEERS[name].name}", f"{devices}, {microbatches}", str(sum(map(len, schedule.actions)))]
                + [shown(seconds, 1e3) for seconds in figures]
                + [shown(ratio(theirs, found["ours"]), digits=2)]
            )
    head = ("schedule", "ranks, N", "computations", "ours ms", "torch generation ms", "torch lowering and steps ms")
    return Section(table((*head, "torch / ours"), rows), goals)


def _warm_up(name: str) -> None:
    """All that runs for the first time, and importing torch, before the clock starts."""
    generate(name, 2, 4)
    dry_run(build(name, stages=2, microbatches=4))()
    _predicted(name, 2, 4)


def _predicted(name: str, stages: int, microbatches: int) -> object:
    return anew(simulate, build(name, stages=stages, microbatches=microbatches), PROFILE)
