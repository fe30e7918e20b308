"""The tables of `benchmarks.bench_simulator`, one function each, with the goals that their figures answer."""

from __future__ import annotations

__all__ = ["compiled_table", "engine_table", "large_table"]

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.goals import Goal
from benchmarks.setting import PROFILE, Section, Size, anew
from benchmarks.turns import Seconds, in_turns, ratio, shown, table
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Plan
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.durations import Durations
from chimera.simulator.draws.sampling import draw
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.direct import engine as direct
from chimera.simulator.engines.reference import device as reference
from chimera.simulator.memory.events import memory_peaks
from chimera.simulator.predicting.predicted_timeline import predicted_timeline
from chimera.simulator.workload.workload import Workload


def engine_table(sizes: Sequence[Size], rounds: int) -> Section:
    """Chimera through the engine of events that answers by default, part by part and whole; the reference beside it."""
    rows: list[list[str]] = []
    goals: list[Goal] = []
    costs: list[Seconds] = []
    for stages, microbatches in sizes:
        schedule = build("chimera", stages=stages, microbatches=microbatches)
        plan = lower(schedule)
        computations, actions = (sum(map(len, each.actions)) for each in (schedule, plan))
        # `simulate` pauses the collector too.
        found = in_turns({**_parts(plan), **_wholes(plan)}, rounds, collecting=False)
        *parts, from_plan, from_schedule, written = found.values()
        rows.append(
            [f"{stages}, {microbatches}", str(computations), str(actions)]
            + [shown(seconds, 1e6 / computations) for seconds in parts]
            + [
                f"{shown(each, 1e6 / computations)}; {shown(each, 1e6 / actions)}"
                for each in (from_plan, from_schedule)
            ]
            + [shown(written, 1e6 / computations)]
        )
        costs.append([1e6 * seconds / computations for seconds in from_schedule])
        what = f"SimPy, memory and links, lowering included, D={stages} N={microbatches}"
        goals.append(Goal(what, 15, "us a computation", costs[-1]))
        goals.append(Goal(what, 15, "us an action", [1e6 * seconds / actions for seconds in from_schedule]))
    growth = Goal("SimPy, growth of that a computation from the first to the last", 1.5, "", ratio(costs[-1], costs[0]))
    return Section(table(_ENGINE_HEAD, rows), [*goals, growth])


_ENGINE_HEAD = (
    "D, N",
    "computations",
    "actions",
    "lowering",
    "resolving costs",
    "SimPy events",
    "the same by the reference engine",
    "peak memory",
    "metrics",
    "`simulate(plan)`; per action",
    "`simulate(schedule)`, lowering included; per action",
    "the same and its timeline with every memory event, made when asked for",
)


def _parts(plan: Plan) -> dict[str, Callable[[], object]]:
    """The parts of a prediction in their order, each by itself."""
    schedule = plan.schedule
    workload = Workload(plan, PROFILE, Durations(schedule, PROFILE))
    times = direct.run(workload)
    found = predicted_timeline(workload, times)
    return {
        "lower": partial(lower, schedule),
        "resolve": partial(anew, lambda: Workload(plan, PROFILE, Durations(schedule, PROFILE))),
        "events": partial(direct.run, workload),
        "reference": partial(reference.run, workload),
        "memory": partial(memory_peaks, workload, times),
        "metrics": partial(found.metrics, schedule.microbatches),
    }


def _wholes(plan: Plan) -> dict[str, Callable[[], object]]:
    """Whole predictions: of the plan, of the schedule, and of the schedule with all its timeline."""
    return {
        "plan": partial(anew, simulate, plan, PROFILE),
        "schedule": partial(anew, simulate, plan.schedule, PROFILE),
        "timeline": partial(anew, lambda: simulate(plan.schedule, PROFILE).timeline),
    }


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


def large_table(size: Size, rounds: int) -> Section:
    """Whole predictions, from the schedule's name to its metrics; with sizes, peak memory is among them."""
    stages, microbatches = size
    profiles = {"no sizes": Profile.uniform(p2p="10us"), "memory and links": PROFILE}

    def _predicted(name: str, profile: Profile) -> object:
        schedule = build(name, stages=stages, microbatches=microbatches)
        return simulate(schedule, profile, engine="compiled").metrics

    rows: list[list[str]] = []
    goals: list[Goal] = []
    for kind, profile in profiles.items():
        found = in_turns({name: partial(_predicted, name, profile) for name in ("chimera", "dapple", "zb-h1")}, rounds)
        rows += [[name, f"{stages}, {microbatches}", kind, shown(seconds, digits=2)] for name, seconds in found.items()]
        goals += [Goal(f"{name}, {kind}, D={stages} N={microbatches}", 5, "s", each) for name, each in found.items()]
    return Section(table(("schedule", "D, N", "costs", "seconds"), rows), goals)
