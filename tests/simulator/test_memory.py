"""The memory timeline against a recount from spans and transfers alone, and numbers by hand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import Timeline
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import LayerCost, LinkCost, OptimizerCost, SizeCost
from chimera.simulator.memory.events import memory_peak
from tests.sizes import examples

FRAMEWORK, INPUT = 1_000_000, 7
COST = SizeCost(
    1,
    forward_ns=1000,
    backward_ns=2100,
    activation_bytes=500,
    boundary_bytes=31,
    forward_workspace_bytes=17,
    backward_workspace_bytes=23,
)
LAYER = LayerCost("stage", (COST,), parameters=10, parameter_bytes=40)
PROFILE = Profile(
    "sized",
    (LAYER,),
    per_stage=True,
    input_bytes_per_sample=INPUT,
    links={"local": LinkCost(latency_ns=300, bandwidth_bytes_per_s=1e8, send_overhead_ns=20, receive_overhead_ns=30)},
    optimizer=OptimizerCost(state_bytes_per_parameter=8, gradient_bytes_per_parameter=4),
    framework_bytes=FRAMEWORK,
)
schedules = st.one_of(
    st.builds(
        lambda name, stages, microbatches: build(name, stages=stages, microbatches=microbatches),
        st.sampled_from(["gpipe", "dapple"]),
        st.integers(1, 6),
        st.integers(1, 8),
    ),
    st.builds(
        lambda half, microbatches: build("chimera", stages=2 * half, microbatches=microbatches),
        st.integers(1, 3),
        st.integers(1, 9),
    ),
)


def recount(schedule: Schedule, timeline: Timeline, device: int, moment: float) -> int:
    """Bytes held at a moment strictly between events, by looking at everything that could be alive."""
    total = FRAMEWORK + len(schedule.held_by(device)) * (40 + 10 * 8 + 10 * 4)
    spans = timeline.of_device(device)
    begun = {str(span.action): span for span in spans}
    for span in spans:
        stage = span.action.parts[0].stage
        kept = 500
        if schedule.recompute is True or (schedule.recompute and stage in schedule.recompute):
            kept = INPUT if stage == 0 else 31
        if span.action.kind == "F":
            backward = begun[str(span.action).replace("F", "B")]
            total += kept * (span.start_ns < moment < backward.end_ns)
            total += (17 + 500 - kept) * (span.start_ns < moment < span.end_ns)
        else:
            total += (23 + 500 - kept) * (span.start_ns < moment < span.end_ns)
    for transfer in timeline.transfers:
        if transfer.target == device:
            receive = transfer.action
            consumer = begun[f"{receive.stage}{receive.kind[-1]}{receive.microbatch}"]
            until = consumer.start_ns if receive.kind == "RECV_F" else consumer.end_ns
            total += 31 * (transfer.posted_ns < moment < until)
        if transfer.source == device:
            total += 31 * (transfer.sent_ns < moment < transfer.arrived_ns)
    return total


@settings(max_examples=examples(40), deadline=None)
@given(schedules, st.sets(st.integers(0, 5)))
def test_every_moment_equals_a_recount(schedule: Schedule, again: set[int]) -> None:
    schedule = replace(schedule, recompute=tuple(sorted(stage for stage in again if stage < schedule.stages)))
    timeline = simulate(schedule, PROFILE).timeline
    for device in range(schedule.devices):
        changes: dict[int, int] = defaultdict(int)
        for event in timeline.memory:
            if event.device == device:
                changes[event.time_ns] += event.delta_bytes
        moments = sorted(changes)
        held = highest = 0
        for moment, following in zip(moments, [*moments[1:], moments[-1] + 2], strict=True):
            held += changes[moment]
            highest = max(highest, held)
            assert held == recount(schedule, timeline, device, (moment + following) / 2)
        assert timeline.peak_memory_bytes[device] >= highest


@settings(max_examples=examples(30), deadline=None)
@given(schedules)
def test_only_what_lives_between_iterations_is_left(schedule: Schedule) -> None:
    timeline = simulate(schedule, PROFILE).timeline
    left: dict[str, int] = defaultdict(int)
    for event in timeline.memory:
        left[event.category] += event.delta_bytes
    assert not any(left[category] for category in ("activations", "workspace", "buffers", "versions"))


def test_1f1b_peak_by_hand() -> None:
    # Device 0 of 4 holds 4 activations of 500 (Table 2: up to D M_a) while its first backward runs with
    # a workspace of 23; weights 40, optimizer state 80, gradients 40; messages without size.
    layer = replace(LAYER, costs=(replace(COST, boundary_bytes=0),))
    profile = replace(PROFILE, layers=(layer,), framework_bytes=0)
    timeline = simulate(build("dapple", stages=4, microbatches=8), profile).timeline
    peak = memory_peak([event for event in timeline.memory if event.device == 0])
    assert peak.total_bytes == timeline.peak_memory_bytes[0] == 4 * 500 + 23 + 40 + 80 + 40
    assert peak.by_category["activations"] == 4 * 500
    first_backward = next(span for span in timeline.of_device(0) if span.action.kind == "B")
    assert (peak.cause, peak.time_ns) == ("0B0", first_backward.start_ns)


def test_gradients_that_do_not_persist_appear_with_the_first_backward() -> None:
    profile = replace(PROFILE, optimizer=replace(PROFILE.optimizer, gradients_persist=False))
    timeline = simulate(build("gpipe", stages=2, microbatches=2), profile).timeline
    events = [event for event in timeline.memory if event.category == "gradients"]
    first = [next(s for s in timeline.of_device(d) if s.action.kind == "B").start_ns for d in range(2)]
    found = [(event.device, event.time_ns, event.delta_bytes) for event in events]
    assert found == [(0, first[0], 40), (1, first[1], 40)]


@pytest.mark.parametrize(("update", "copies"), [("flush", 1), ("2bw", 2)])
def test_weight_versions(update: str, copies: int) -> None:
    # Table 2: DAPPLE M_theta, PipeDream-2BW 2 M_theta
    schedule = replace(build("dapple", stages=4, microbatches=8), update=update)  # type: ignore[arg-type]
    prediction = simulate(schedule, PROFILE)
    assert prediction.weights_copies == (copies,) * 4
    versions = [event.delta_bytes for event in prediction.timeline.memory if event.category == "versions"]
    assert versions == [40] * 4 * (copies - 1)


def test_pipedream_keeps_d_minus_s_versions() -> None:
    # PipeDream: stage s keeps D - s versions (Table 2: M_theta .. D M_theta)
    schedule = replace(build("dapple", stages=4, microbatches=12), update="pipedream")
    prediction = simulate(schedule, PROFILE)
    assert prediction.weights_copies == (4, 3, 2, 1)
    for device in range(4):
        held = [e.delta_bytes for e in prediction.timeline.memory if e.device == device and e.category == "versions"]
        highest = max((sum(held[: n + 1]) for n in range(len(held))), default=0)
        assert highest == (4 - device - 1) * 40
        assert sum(held) == 0


def test_without_sizes_there_is_no_memory_to_predict() -> None:
    prediction = simulate(build("dapple", stages=2, microbatches=2), Profile.uniform())
    assert prediction.metrics.per_device[0].peak_memory_bytes is None
    assert any("memory" in line for line in prediction.assumptions)
