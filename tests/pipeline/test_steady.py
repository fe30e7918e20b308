"""How fast a full pipeline is, read from timelines: PipeDream's claim, and the engine that unrolls iterations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.schedules import build
from chimera.pipeline.steady import steady_iteration_ns
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import LayerCost, LinkCost, SizeCost
from tests.sizes import examples


@pytest.mark.parametrize(("stages", "microbatches"), [(1, 5), (2, 8), (4, 14), (4, 16), (8, 32)])
def test_equal_stages_and_free_messages_leave_no_bubble(stages: int, microbatches: int) -> None:
    """PipeDream, SOSP'19, section 3.2: in steady state no worker is idle, so an iteration is N (F + B)."""
    schedule = build("pipedream", stages=stages, microbatches=microbatches)
    timeline = simulate(schedule, Profile.uniform(forward=1000, backward=2000)).timeline
    assert steady_iteration_ns(timeline, schedule) == microbatches * 3000


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 60)), min_size=2, max_size=4), st.integers(0, 9))
def test_it_approaches_the_rate_of_iterations_back_to_back(costs: list[tuple[int, int]], delay: int) -> None:
    """The simulator's steady state unrolls iterations and finds the exact period: another way to the same figure."""
    stages = len(costs)
    layers = tuple(LayerCost(f"layer {n}", (SizeCost(1, *cost),)) for n, cost in enumerate(costs))
    profile = Profile("uneven", layers, links={"local": LinkCost(delay, queueing=False)})
    schedule = build("pipedream", stages=stages, microbatches=40 * stages)
    prediction = simulate(schedule, profile, partition=(1,) * stages)
    steady, found = prediction.steady_state, steady_iteration_ns(prediction.timeline, schedule)
    assert steady is not None and found == pytest.approx(steady.iteration_ns, rel=0.05)


@pytest.mark.parametrize(("name", "microbatches"), [("dapple", 16), ("gpipe", 16), ("pipedream", 7)])
def test_a_pipeline_that_drains_or_never_fills_has_none(name: str, microbatches: int) -> None:
    schedule = build(name, stages=2, microbatches=microbatches)
    timeline = simulate(schedule, Profile.uniform()).timeline
    assert steady_iteration_ns(timeline, schedule) is None
