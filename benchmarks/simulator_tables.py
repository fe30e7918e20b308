"""The tables of `benchmarks.bench_simulator`, one function each, with the goals that their figures answer."""

from __future__ import annotations

__all__ = ["PROFILE", "Section", "compiled_table", "engine_table", "large_table", "startup_table", "torch_table"]

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from time import perf_counter
from typing import NamedTuple

import numpy as np

from benchmarks.goals import Goal
from benchmarks.torch_dry_run import PEERS, dry_run, generate
from benchmarks.turns import Seconds, in_turns, ratio, shown, table
from pipeline.lowering import lower
from pipeline.metrics import measure
from pipeline.schedules import build
from simulator import Profile, simulate
from simulator.compiled.longest_path import CompiledWorkload
from simulator.costs.durations import Durations
from simulator.costs.profile import AllReduceCost, LayerCost, LinkCost, OptimizerCost, Overheads, SizeCost
from simulator.events import engine as reference
from simulator.memory import memory_events, memory_peak
from simulator.predict import PLANS
from simulator.sampling import draw
from simulator.structure import STRUCTURES
from simulator.times import timeline_of
from simulator.workload import Workload

Size = tuple[int, int]
"""D and N"""
COST = SizeCost(
    1,
    10**6,
    2 * 10**6,
    forward_spread=0.02,
    backward_spread=0.02,
    activation_bytes=10**8,
    boundary_bytes=10**6,
    forward_workspace_bytes=10**6,
    backward_workspace_bytes=10**6,
)
PROFILE = Profile(
    "benchmark",
    (LayerCost("stage", (COST,), parameters=10**6, parameter_bytes=4 * 10**6),),
    per_stage=True,
    links={"local": LinkCost(50_000, 1e10, 1000, 1000)},
    all_reduce=AllReduceCost(10_000, 1e10),
    optimizer=OptimizerCost(1000, 0.01, 8),
    overheads=Overheads(dispatch_ns=5000),
)


class Section(NamedTuple):
    """A table, and goals."""

    text: str
    goals: list[Goal]


def engine_table(sizes: Sequence[Size], rounds: int) -> Section:
    """Chimera through the SimPy engine, part by part and whole."""
    rows, costs = [], {}
    for stages, microbatches in sizes:
        schedule = build("chimera", stages=stages, microbatches=microbatches)
        plan = lower(schedule)
        count, actions = (sum(map(len, each.actions)) for each in (schedule, plan))
        workload = Workload(plan, PROFILE, Durations(schedule, PROFILE))
        times = reference.run(workload)
        rows_of_events = memory_events(workload, times)
        timeline = timeline_of(workload, times, tuple(chain.from_iterable(rows_of_events)))
        contestants: dict[str, Callable[[], object]] = {
            "lower": partial(lower, schedule),
            "resolve": partial(_anew, lambda p, s: Workload(p, PROFILE, Durations(s, PROFILE)), plan, schedule),
            "events": partial(reference.run, workload),
            "memory": partial(lambda w, t: [memory_peak(row) for row in memory_events(w, t)], workload, times),
            "metrics": partial(measure, timeline),
            "plan": partial(_anew, simulate, plan, PROFILE),
            "schedule": partial(_anew, simulate, schedule, PROFILE),
        }
        found = in_turns(contestants, rounds, collecting=False)  # `simulate` pauses the collector too
        whole = [found[part] for part in ("plan", "schedule")]
        costs[stages, microbatches] = [1e6 * seconds / actions for seconds in found["schedule"]]
        rows.append(
            [f"{stages}, {microbatches}", str(count), str(actions)]
            + [shown(found[part], 1e6 / count) for part in ("lower", "resolve", "events", "memory", "metrics")]
            + [f"{shown(seconds, 1e6 / count)}; {shown(seconds, 1e6 / actions)}" for seconds in whole]
        )
    head = ("D, N", "computations", "actions", "lowering", "resolving costs", "SimPy events", "memory", "metrics")
    head = (*head, "`simulate(plan)`; per action", "`simulate(schedule)`, lowering included; per action")
    goals = [Goal(f"SimPy, memory and links, lowering included, D={d} N={n}", 15, "us an action", each) for (d, n), each in costs.items()]
    growth = ratio(costs[sizes[-1]], costs[sizes[0]])
    return Section(table(head, rows), [*goals, Goal("SimPy, growth of that from the first to the last", 1.5, "", growth)])


def _anew(action: Callable[..., object], *arguments: object) -> object:
    """The action with nothing kept of earlier plans."""
    PLANS.clear()
    STRUCTURES.clear()
    return action(*arguments)


def compiled_table(sizes: Sequence[Size], samples: int, rounds: int) -> Section:
    """Chimera through the compiled engine: one configuration, and many drawn iterations."""
    rows: list[list[str]] = []
    goals: list[Goal] = []
    for stages, microbatches in sizes:
        schedule = build("chimera", stages=stages, microbatches=microbatches)
        workload = Workload(lower(schedule), PROFILE, Durations(schedule, PROFILE))
        actions = sum(map(len, workload.ops))
        compiled = CompiledWorkload(workload)
        drawn = np.concatenate(list(draw(workload, samples, 0)))
        compiled.iteration_ns(drawn), compiled.iteration_ns(drawn[:1])  # what they keep for all that follow
        found = in_turns(
            {
                "build": partial(_built, workload),
                "one": partial(compiled.iteration_ns, drawn[:1]),
                "drawn": partial(compiled.iteration_ns, drawn),
                "drawing": partial(_drawn_iterations, workload, compiled, len(drawn)),
            },
            rounds,
        )
        goals += _compiled_goals(f"D={stages} N={microbatches}", actions, len(drawn), found, first=not goals)
        rows.append(
            [
                f"{stages}, {microbatches}",
                str(actions),
                shown(found["build"], 1e6 / actions),
                shown(found["one"], 1e9 / actions),
                str(len(drawn)),
                shown(found["drawn"], 1e9 / actions / len(drawn)),
                shown(found["drawn"], 1e3),
                shown(found["drawing"], 1e3),
            ]
        )
    head = ("D, N", "actions", "building, us an action", "one configuration, ns an action", "samples")
    return Section(table((*head, "ns an action and sample", "ms", "ms, drawing included"), rows), goals)


def _compiled_goals(size: str, actions: int, samples: int, found: dict[str, Seconds], *, first: bool) -> list[Goal]:
    one = [1e9 * seconds / actions for seconds in found["one"]]
    many = [1e9 * seconds / actions / samples for seconds in found["drawn"]]
    goals = [
        Goal(f"compiled, one configuration, {size}", 100, "ns an action", one),
        Goal(f"compiled, {samples} samples, {size}", 5, "ns an action and sample", many),
    ]
    whole = [1e3 * seconds for seconds in found["drawing"]]
    return [*goals, Goal(f"compiled, {samples} samples, {size}, drawn and solved", 50, "ms", whole)] if first else goals


def _built(workload: Workload) -> CompiledWorkload:
    workload.structure.graphs.clear()
    return CompiledWorkload(workload)


def _drawn_iterations(workload: Workload, compiled: CompiledWorkload, samples: int) -> list[object]:
    return [compiled.iteration_ns(batch) for batch in draw(workload, samples, 0)]


def torch_table(sizes: Sequence[Size], rounds: int) -> Section:
    """Generation, lowering and simulation: ours with times, messages and memory, torch's in unit steps."""
    rows: list[list[str]] = []
    goals: list[Goal] = []
    for devices, microbatches in sizes:
        for name in ("dapple", "interleaved", "zb-v"):
            schedule = build(name, stages=devices, microbatches=microbatches)
            generate(name, 2, 4)  # imports torch before the clock starts
            found = in_turns(
                {
                    "ours": partial(_predicted, name, devices, microbatches),
                    "generation": partial(generate, name, devices, microbatches),
                    "dry run": dry_run(schedule),
                },
                min(rounds, 3),
            )
            theirs: Seconds = list(map(sum, zip(found["generation"], found["dry run"], strict=True)))
            if (devices, microbatches) == sizes[-1]:
                what = f"torch's dry run of {name} / ours, D={devices} N={microbatches}"
                goals.append(Goal(what, 1, "", ratio(theirs, found["ours"]), at_least=True))
            figures = (found["ours"], found["generation"], found["dry run"])
            rows.append(
                [f"{name} / {PEERS[name].name}", f"{devices}, {microbatches}", str(sum(map(len, schedule.actions)))]
                + [shown(seconds, 1e3) for seconds in figures]
                + [shown(ratio(theirs, found["ours"]))]
            )
    head = ("schedule", "ranks, N", "computations", "ours ms", "torch generation ms", "torch lowering and steps ms")
    return Section(table((*head, "torch / ours"), rows), goals)


def _predicted(name: str, stages: int, microbatches: int) -> object:
    return _anew(simulate, build(name, stages=stages, microbatches=microbatches), PROFILE)


def large_table(size: Size, rounds: int) -> Section:
    """Whole predictions, from the schedule's name to its metrics; with sizes, peak memory is among them."""
    stages, microbatches = size
    profiles = {"no sizes": Profile.uniform(p2p="10us"), "memory and links": PROFILE}

    def predicted(name: str, profile: Profile) -> object:
        schedule = build(name, stages=stages, microbatches=microbatches)
        return simulate(schedule, profile, engine="compiled").metrics

    rows: list[list[str]] = []
    goals: list[Goal] = []
    for kind, profile in profiles.items():
        found = in_turns({name: partial(predicted, name, profile) for name in ("chimera", "dapple", "zb-h1")}, rounds)
        rows += [[name, f"{stages}, {microbatches}", kind, shown(seconds, digits=2)] for name, seconds in found.items()]
        goals += [Goal(f"{name}, {kind}, D={stages} N={microbatches}", 5, "s", each) for name, each in found.items()]
    return Section(table(("schedule", "D, N", "costs", "seconds"), rows), goals)


def startup_table(rounds: int) -> Section:
    """Wall time of whole processes."""
    commands = {
        "chimera --help": ["--help"],
        "chimera simulate": ["simulate", "dapple", "--stages=4", "--microbatches=8", "--forward=1ms", "--backward=2ms"],
    }
    found: dict[str, Seconds] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            begin = perf_counter()
            subprocess.run(
                [sys.executable, "-c", "from cli import main; main()", *arguments],
                check=True,
                capture_output=True,
            )
            found[name].append(perf_counter() - begin)
    rows = [[name, shown(seconds, digits=2)] for name, seconds in found.items()]
    return Section(table(("command", "seconds of wall time"), rows), [])
