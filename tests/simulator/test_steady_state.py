"""Asynchronous schedules back to back: PipeDream's claim, a replay by hand, and 1F1B without an end."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.actions import Kind, parse_action
from chimera.pipeline.lowering.unroll import unrolled, unrolled_plan
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.soundness.deadlock import check_waits
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import LayerCost, LinkCost, OptimizerCost, SizeCost
from chimera.simulator.engines.choice import Engine
from tests.sizes import examples

ASYNCHRONOUS = ["pipedream", "pipedream-2bw"]
ENGINES: tuple[Engine, ...] = ("simpy", "compiled")
EQUAL = Profile.uniform(forward=1000, backward=2100)


@pytest.mark.parametrize("name", ASYNCHRONOUS)
@pytest.mark.parametrize(("stages", "microbatches"), [(1, 1), (2, 2), (4, 4), (4, 7), (8, 8)])
def test_equal_stages_and_free_messages_leave_no_bubble(name: str, stages: int, microbatches: int) -> None:
    # PipeDream, SOSP'19, section 3.2: in steady state no worker is idle; so an iteration is N (F + B).
    found = simulate(build(name, stages=stages, microbatches=microbatches), EQUAL, microbatch_size=3)
    steady = found.steady_state
    assert steady is not None and steady.settled
    assert steady.iteration_ns == microbatches * 3100 and steady.bubble_ratio == 0
    assert steady.throughput_samples_per_s == pytest.approx(3e9 / 3100)
    assert found.metrics.iteration_ns == (microbatches + stages - 1) * 3100  # one alone, as ever


@settings(max_examples=examples(40), deadline=None)
@given(
    st.sampled_from(ASYNCHRONOUS),
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 60)), min_size=1, max_size=5),
    st.integers(0, 3),
    st.integers(0, 40),
)
def test_the_rate_is_that_of_a_replay_by_hand(name: str, costs: list[tuple[int, int]], more: int, delay: int) -> None:
    stages = len(costs)
    layers = tuple(
        LayerCost(f"layer {n}", (SizeCost(1, forward, backward),)) for n, (forward, backward) in enumerate(costs)
    )
    profile = Profile("uneven", layers, links={"local": LinkCost(delay, queueing=False)})
    schedule = build(name, stages=stages, microbatches=stages + more)
    steady = simulate(schedule, profile, partition=(1,) * stages).steady_state
    assert steady is not None
    rate = _rate(costs, delay)
    assert rate == _replayed(costs, delay)
    if steady.settled:
        assert steady.iteration_ns == pytest.approx(float(rate * (stages + more)), rel=1e-12)
    else:
        assert steady.iteration_ns == pytest.approx(float(rate * (stages + more)), rel=0.1)


def _rate(costs: list[tuple[int, int]], delay: int) -> Fraction:
    """Nanoseconds a micro-batch: the largest mean of a cycle of endless 1F1B.

    Up from stage s to t with a forward, and down with the backward t - s + 1 micro-batches before
    the one whose forward is then due at s: there is one cycle for every s <= t, and no other.
    """
    depth = len(costs)
    return max(
        Fraction(sum(map(sum, costs[s : t + 1])) + 2 * delay * (t - s), t - s + 1)
        for s in range(depth)
        for t in range(s, depth)
    )


def _replayed(costs: list[tuple[int, int]], delay: int) -> Fraction:
    """1F1B's recurrence without a plan, in ns a micro-batch: of the last 120, which all periods up to 5 divide."""
    depth, count = len(costs), 400
    forward: dict[tuple[int, int], int] = {}
    backward: dict[tuple[int, int], int] = {}
    clock = [0] * depth
    position = [0] * depth
    rows = []
    for stage in range(depth):
        warm = depth - stage
        row = [("F", m) for m in range(warm)]
        for m in range(count):
            row += [("B", m)] + ([("F", m + warm)] if m + warm < count else [])
        rows.append(row)
    moved = True
    while moved:
        moved = False
        for stage, row in enumerate(rows):
            while position[stage] < len(row):
                kind, m = row[position[stage]]
                if kind == "F":
                    ready = 0 if stage == 0 else forward.get((stage - 1, m))
                else:
                    ready = forward.get((stage, m)) if stage == depth - 1 else backward.get((stage + 1, m))
                if ready is None:
                    break
                own = (kind == "F" and stage == 0) or (kind == "B" and stage == depth - 1)
                clock[stage] = max(clock[stage], ready + (0 if own else delay)) + costs[stage][kind == "B"]
                (forward if kind == "F" else backward)[stage, m] = clock[stage]
                position[stage] += 1
                moved = True
    return Fraction(backward[0, 380] - backward[0, 260], 120)


@settings(max_examples=examples(30), deadline=None)
@given(st.sampled_from(ASYNCHRONOUS), st.integers(1, 6), st.integers(0, 6), st.integers(1, 4))
def test_fills_that_overlap_drains_are_1f1b_over_all_micro_batches(
    name: str, stages: int, more: int, iterations: int
) -> None:
    schedule = build(name, stages=stages, microbatches=stages + more)
    whole = build(name, stages=stages, microbatches=iterations * (stages + more))
    assert unrolled(schedule, iterations) == whole


@pytest.mark.parametrize("width", [1, 2])
def test_2bw_updates_every_stage_once_an_iteration_behind_its_last_backward(width: int) -> None:
    plan = unrolled_plan(build("pipedream-2bw", stages=3, microbatches=4), 3, width=width)
    check_waits(plan, "buffered")
    for row in plan.actions:
        done = 0
        for action in row:
            done += action.kind is Kind.B
            assert action.kind is not Kind.STEP or done % 4 == 0
        kinds = [action.kind for action in row]
        assert kinds.count(Kind.STEP) == 3 and kinds.count(Kind.REDUCE_GRAD) == (3 if width > 1 else 0)


def test_steps_and_all_reduces_of_every_iteration_are_waited_for() -> None:
    # One stage: nothing overlaps, so an iteration is N (F + B) and one step (2BW), or N steps (PipeDream).
    profile = replace(EQUAL, optimizer=OptimizerCost(constant_ns=500))
    found = {name: simulate(build(name, stages=1, microbatches=5), profile).steady_state for name in ASYNCHRONOUS}
    rates = {name: steady.iteration_ns for name, steady in found.items() if steady}
    assert rates == {"pipedream": 5 * 3600, "pipedream-2bw": 5 * 3100 + 500}


def test_orders_that_cannot_overlap_run_one_behind_the_other() -> None:
    # Device 0 wants gradient 1 before it starts forward 2, device 1 forward 2 before it makes gradient 1. One
    # behind the other, by hand: 0F0 0F1 until 2000, 1F1 until 3000, 1B0 1B1 until 7200, 0B1 0B0 until 11400.
    rows = ("0F0 0F1 0B1 0B0", "1F0 1F1 1B0 1B1")
    actions = tuple(tuple(map(parse_action, row.split())) for row in rows)
    schedule = replace(build("gpipe", stages=2, microbatches=2), update="2bw", actions=actions)
    steady = simulate(schedule, EQUAL).steady_state
    assert steady is not None and steady.settled and steady.iteration_ns == 11400


@pytest.mark.parametrize("name", ASYNCHRONOUS)
def test_both_engines_give_one_rate(name: str) -> None:
    profile = replace(EQUAL, links={"local": LinkCost(170, None, 20, 30)}, optimizer=OptimizerCost(constant_ns=90))
    schedule = build(name, stages=4, microbatches=6)
    found = [simulate(schedule, profile, engine=engine, width=2).steady_state for engine in ENGINES]
    assert found[0] is not None and found[0] == found[1]


def test_schedules_that_flush_and_plans_have_no_other_rate() -> None:
    plan: Plan | Schedule = unrolled_plan(build("pipedream", stages=2, microbatches=2), 2)
    assert simulate(plan, EQUAL).steady_state is None
    assert simulate(build("dapple", stages=2, microbatches=2), EQUAL).steady_state is None


def test_iterations_that_would_wait_for_one_another_for_ever_have_no_rate() -> None:
    # GEMS's two replicas of a stage take turns: one cannot step before the other has seen the next iteration.
    schedule = replace(build("gems", stages=4, microbatches=8), update="2bw")
    assert simulate(schedule, EQUAL).steady_state is None


def test_the_document_says_which_is_which() -> None:
    found = simulate(build("pipedream", stages=2, microbatches=4), EQUAL)
    document = found.as_json()
    assert document["iteration_s"] == pytest.approx(5 * 3.1e-6)
    assert document["steady_state"]["iteration_s"] == pytest.approx(4 * 3.1e-6)
    assert any("steady_state has iterations that overlap" in each for each in document["assumptions"])
