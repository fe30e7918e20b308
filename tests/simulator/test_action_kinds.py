"""Split backwards, halves, doubled forwards, overlapped pairs and recomputation, by hand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.actions import Action, Kind, Overlap, Step
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.soundness.check import check
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import LayerCost, LinkCost, Locality, Overheads, SizeCost
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.direct import engine as reference
from chimera.simulator.workload.workload import Workload
from tests.machines import stage_machine
from tests.sizes import examples

SIZED = stage_machine(
    10,
    20,
    size={
        "activation_bytes": 100,
        "boundary_bytes": 8,
        "forward_workspace_bytes": 3,
        "backward_workspace_bytes": 5,
    },
    links={"local": LinkCost(1, 1e9)},
)


def split(schedule: Schedule) -> Schedule:
    """Every full backward as I and W, one right after the other."""
    return rewritten(schedule, lambda a: (a._replace(kind=Kind.I), a._replace(kind=Kind.W)))


def halved(schedule: Schedule) -> Schedule:
    """Every full backward in two halves."""
    return rewritten(schedule, lambda a: (a._replace(half=0), a._replace(half=1)))


def rewritten(schedule: Schedule, backward: object) -> Schedule:
    rows: list[tuple[Step, ...]] = []
    for row in schedule.actions:
        new: list[Step] = []
        for action in row:
            new += backward(action) if action.kind is Kind.B else (action,)  # type: ignore[operator]
        rows.append(tuple(new))
    return replace(schedule, actions=tuple(rows))


def doubled(stages: int, microbatches: int) -> Schedule:
    """GPipe with forwards of two micro-batches each."""
    schedule = build("gpipe", stages=stages, microbatches=microbatches)
    rows = tuple(
        (
            *(Action(stage, Kind.F, m, m + 1) for m in range(0, microbatches, 2)),
            *(action for action in schedule.actions[stage] if action.kind is Kind.B),
        )
        for stage in range(stages)
    )
    return replace(schedule, actions=rows)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # one device: all the work, whatever its pieces
        (split(build("gpipe", stages=1, microbatches=3)), 90),
        (halved(build("gpipe", stages=1, microbatches=3)), 90),
        (doubled(1, 4), 120),
        # two stages, N = 1, F = 10, I = W = 10: F 0-20, I of stage 1 20-30, I of stage 0 30-40, W 40-50
        (split(build("gpipe", stages=2, microbatches=1)), 50),
        # halves of 10: stage 1 does 20-30 and 30-40, stage 0 30-40 and 40-50
        (halved(build("gpipe", stages=2, microbatches=1)), 50),
        # doubled forwards of 20: stage 1 starts at 20, ends at 40; its backwards end at 60 and 80, stage 0's at 100
        (doubled(2, 2), 100),
    ],
)
def test_durations_by_hand(schedule: Schedule, expected: int) -> None:
    assert simulate(schedule, Profile.uniform(forward=10, backward=20)).timeline.end_ns == expected


variants = st.one_of(
    st.builds(lambda p, m: split(build("dapple", stages=p, microbatches=m)), st.integers(1, 4), st.integers(1, 6)),
    st.builds(
        lambda h, m: halved(build("chimera", stages=h, microbatches=m)), st.sampled_from([2, 4]), st.integers(1, 8)
    ),
    st.builds(lambda p, m: doubled(p, 2 * m), st.integers(1, 4), st.integers(1, 4)),
)


@settings(max_examples=examples(50), deadline=None)
@given(variants, st.booleans())
def test_both_engines_and_an_even_balance_of_memory(schedule: Schedule, recompute: bool) -> None:
    check(schedule)
    schedule = replace(schedule, recompute=recompute)
    workload = Workload(lower(schedule), SIZED, Durations(schedule, SIZED))
    assert CompiledWorkload(workload).times() == reference.run(workload)
    prediction = simulate(schedule, SIZED)
    left: dict[str, int] = defaultdict(int)
    for event in prediction.timeline.memory:
        left[event.category] += event.delta_bytes
    assert not any(left.values())
    assert prediction.lower_bound_s <= prediction.metrics.pipeline_ns / 1e9


def test_stored_activations_of_pieces() -> None:
    profile = Profile.uniform()
    assert simulate(doubled(2, 4), profile).peak_activations == (4, 4)
    # one micro-batch each; the half released makes no room for more
    assert simulate(halved(build("dapple", stages=2, microbatches=3)), profile).peak_activations == (2, 1)
    assert simulate(split(build("dapple", stages=2, microbatches=3)), profile).peak_activations == (2, 1)


def overlapped() -> Schedule:
    """Two replicas; device 0 overlaps the second forward with the first backward."""
    second, first = Action(1, Kind.F, 1), Action(0, Kind.B, 0)
    rows: tuple[tuple[Step, ...], ...] = (
        (Action(0, Kind.F, 0), Overlap(second, first), Action(1, Kind.B, 1)),
        (Action(0, Kind.F, 1), Action(1, Kind.F, 0), Action(1, Kind.B, 0), Action(0, Kind.B, 1)),
    )
    return Schedule("custom", 2, 2, 2, ((0, 1), (1, 0)), (0, 1), rows)


def test_an_overlapped_pair_waits_for_both_of_its_messages() -> None:
    # Device 1: 0F1 0-10, 1F0 (arrives at 11) 11-21, 1B0 21-41; device 0: the pair 42-72 (10 + 20), 1B1 72-92;
    # device 1: 0B1 93-113. The pair's first message was needed at 10 and there at 11, its second from then on.
    timeline = simulate(overlapped(), Profile.uniform(forward=10, backward=20, p2p=1)).timeline
    assert [(s.start_ns, s.end_ns) for s in timeline.of_device(0)] == [(0, 10), (42, 72), (72, 92)]
    assert timeline.end_ns == 113
    pair = [(str(t.action), t.arrived_ns, t.needed_ns) for t in timeline.transfers if t.target == 0]
    assert sorted(pair) == [("0RECV_B0", 42, 11), ("1RECV_F1", 11, 10)]


def test_both_engines_agree_on_overlapped_pairs() -> None:
    profile = replace(SIZED, overheads=Overheads(overlap_factor=0.8))
    schedule = overlapped()
    workload = Workload(lower(schedule), profile, Durations(schedule, profile))
    assert CompiledWorkload(workload).times() == reference.run(workload)
    pair = simulate(schedule, profile).timeline.of_device(0)[1]
    assert pair.end_ns - pair.start_ns == 24


def test_recomputation_adds_a_forward_and_keeps_the_input_only() -> None:
    # One device, two micro-batches: 2 (F + F + B) = 80; stored: two inputs of 8; the peak is in the first
    # backward: the whole activations again (100 - input) and 5 of workspace.
    schedule = replace(build("gpipe", stages=2, microbatches=2), recompute=True)
    prediction = simulate(schedule, SIZED)
    second = prediction.timeline.of_device(1)
    assert [s.end_ns - s.start_ns for s in second] == [10, 10, 30, 30]
    backward = second[2]
    stored = sum(
        event.delta_bytes
        for event in prediction.timeline.memory
        if event.device == 1 and event.category == "activations" and event.time_ns <= backward.start_ns
    )
    assert stored == 8 + 100


def test_a_measured_half_costs_what_its_size_costs() -> None:
    # Sizes 1, 2 and 4 are measured: at micro-batch size 2 a doubled forward costs F(4), half a backward B(1).
    costs = (SizeCost(1, 10, 25), SizeCost(2, 15, 40), SizeCost(4, 22, 70))
    profile = Profile("measured", (LayerCost("a", costs), LayerCost("b", costs)))
    forwards = simulate(doubled(2, 2), profile, microbatch_size=2).timeline.of_device(0)
    assert forwards[0].end_ns - forwards[0].start_ns == 22
    halves = simulate(halved(build("gpipe", stages=2, microbatches=1)), profile, microbatch_size=2).timeline
    assert [s.end_ns - s.start_ns for s in halves.of_device(1)] == [15, 25, 25]


def test_forwards_that_prepare_a_split_backward_cost_their_factor() -> None:
    """D = 1, N = 3, F = 100, B = 200, W = half of it: ZB-H1 splits every backward, so 3 x 10 more; 1F1B none."""
    cost = SizeCost(1, forward_ns=100, backward_ns=200)
    plain = Profile("one", (LayerCost("stage", (cost,)),), per_stage=True)
    split = replace(plain, locality=Locality(forward_for_split=1.1))
    for name, more in (("zb-h1", 30), ("dapple", 0)):
        schedule = build(name, stages=1, microbatches=3)
        found = [simulate(schedule, profile).metrics.pipeline_ns for profile in (plain, split)]
        assert found == [900, 900 + more]


def test_cold_computations_of_a_stage_and_kind_take_their_factors_longer() -> None:
    # One device, three micro-batches: forwards (1.5 + 1.1 + 1) x 100, backwards (1.25 + 2) x 200
    plain = Profile.uniform(forward=100, backward=200)
    cold = replace(plain, locality=Locality(cold_forwards=(1.5, 1.1), cold_backwards=(1.25,)))
    schedule = build("gpipe", stages=1, microbatches=3)
    assert simulate(schedule, cold).metrics.iteration_ns == 150 + 110 + 100 + 250 + 400
    # Two of the halves' three inputs are warm; weights have no factor: 360 + 1.25 x 100 + 2 x 100 + 3 x 100
    halves = replace(Profile.uniform(forward=100, backward_input=100, backward_weight=100), locality=cold.locality)
    assert simulate(build("zb-h1", stages=1, microbatches=3), halves).metrics.iteration_ns == 985
