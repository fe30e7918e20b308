"""What is kept of a schedule changes no number, whatever was predicted before; and little is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import AllReduceCost, LayerCost, LinkCost, OptimizerCost, Overheads, SizeCost
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.direct import engine as reference
from chimera.simulator.predicting import conditions
from chimera.simulator.workload.recent import Recent
from chimera.simulator.workload.structure import STRUCTURES
from chimera.simulator.workload.workload import Workload
from tests.sizes import examples

small = st.integers(0, 2000)
profiles = st.builds(
    lambda forward, backward, size, link, reduce, step, dispatch: Profile(
        "drawn",
        (LayerCost("s", (SizeCost(1, forward, backward, boundary_bytes=size, activation_bytes=3),), parameters=9),),
        per_stage=True,
        links={"local": link},
        all_reduce=AllReduceCost(latency_ns=reduce),
        optimizer=OptimizerCost(constant_ns=step),
        overheads=Overheads(dispatch_ns=dispatch),
    ),
    small,
    small,
    small,
    st.builds(LinkCost, small, st.just(1e9), st.integers(0, 99), st.integers(0, 99), st.booleans()),
    st.sampled_from([0, 700]),
    small,
    st.integers(0, 99),
)
SCHEDULES = [
    build(name, stages=4, microbatches=8, **options)
    for name, options in (("dapple", {}), ("chimera", {}), ("chimera", {"sync": "eager"}), ("zb-h1", {}))
]


def forget() -> None:
    conditions.PLANS.clear()
    STRUCTURES.clear()


@settings(max_examples=examples(60), deadline=None)
@given(st.sampled_from(SCHEDULES), st.lists(profiles, min_size=2, max_size=4), st.integers(1, 2))
def test_one_graph_answers_for_all_costs(schedule: object, drawn: list[Profile], width: int) -> None:
    plan = lower(schedule, width=width)  # type: ignore[arg-type]
    for profile in drawn:
        kept = CompiledWorkload(Workload(plan, profile, Durations(plan.schedule, profile), width)).times()
        forget()
        workload = Workload(plan, profile, Durations(plan.schedule, profile), width)
        assert kept == CompiledWorkload(workload).times() == reference.run(workload)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_the_front_door_says_the_same_the_second_time(schedule: object, engine: str) -> None:
    slow, fast = (Profile.uniform(p2p=p2p) for p2p in ("1ms", "10us"))
    answers = []
    for profile in (slow, fast, slow):
        answers.append(simulate(schedule, profile, engine=engine))  # type: ignore[arg-type]
    forget()
    anew = simulate(schedule, fast, engine=engine)  # type: ignore[arg-type]
    assert answers[0] == answers[2] and answers[0].timeline == answers[2].timeline
    assert answers[1] == anew and answers[1].timeline == anew.timeline
    assert answers[0].metrics.iteration_ns > anew.metrics.iteration_ns


def test_an_equal_schedule_is_not_lowered_again_and_an_unequal_one_is() -> None:
    forget()
    first, again = (build("dapple", stages=4, microbatches=8) for _ in range(2))
    other = replace(first, recompute=True)
    for schedule in (first, again, other):
        simulate(schedule, Profile.uniform())
    assert len(conditions.PLANS) == len(STRUCTURES) == 2


def test_the_longest_unused_goes_first_and_the_too_heavy_is_not_kept() -> None:
    made: list[str] = []
    recent: Recent[str, str] = Recent(count=3, weight=10)

    def get(key: str, weight: int = 1) -> str:
        return recent.get(key, lambda key: made.append(key) or key.upper(), weight=weight)  # type: ignore[func-returns-value]

    assert [get(key) for key in "abcadb"] == list("ABCADB")
    assert made == list("abcdb")
    get("heavy", weight=11)
    assert len(recent) == 3
    get("rather heavy", weight=9)
    assert len(recent) == 2
