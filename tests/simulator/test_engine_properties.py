"""What must hold for every plan and profile: an independent longest path, scaling, order, monotony."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import DeadlockError, ScheduleError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import Timeline
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import (
    AllReduceCost,
    LinkCost,
    OptimizerCost,
    Overheads,
    Topology,
)
from chimera.simulator.engines.direct import engine as reference
from chimera.simulator.workload.workload import Workload
from tests.machines import stage_machine
from tests.sizes import examples
from tests.strategies import schedules as any_schedule

times = st.integers(0, 2000)
schedules = st.one_of(
    st.builds(
        lambda name, stages, microbatches: build(name, stages=stages, microbatches=microbatches),
        st.sampled_from(["gpipe", "dapple"]),
        st.integers(1, 7),
        st.integers(1, 9),
    ),
    st.builds(
        lambda half, microbatches: build("chimera", stages=2 * half, microbatches=microbatches),
        st.integers(1, 4),
        st.integers(1, 12),
    ),
)


def longest_path(schedule: Schedule, forward: int, backward: int, latency: int) -> int:
    """Makespan by relaxation over (stage, kind, micro-batch), knowing nothing of plans or events."""
    durations = {"F": forward, "B": backward}
    where = {
        (a.stage, a.kind.value, a.microbatch): (device, position)
        for device, row in enumerate(schedule.actions)
        for position, action in enumerate(row)
        for a in action.parts
    }
    ends: dict[tuple[int, str, int], int] = {}

    def before(node: tuple[int, str, int]) -> list[tuple[int, str, int]]:
        stage, kind, m = node
        if kind == "F":
            return [(stage - 1, "F", m)] if stage else []
        return [(stage, "F", m)] + ([(stage + 1, "B", m)] if stage < schedule.stages - 1 else [])

    while len(ends) < len(where):
        for node, (device, position) in where.items():
            row = schedule.actions[device]
            before_it = [action.parts[0] for action in row[max(position - 1, 0) : position]]
            previous = [(a.stage, a.kind.value, a.microbatch) for a in before_it]
            needs = [(p, 0) for p in previous] + [(p, latency * (where[p][0] != device)) for p in before(node)]
            if node not in ends and all(p in ends for p, _ in needs):
                ends[node] = max((ends[p] + delay for p, delay in needs), default=0) + durations[node[1]]
    return max(ends.values())


@settings(max_examples=examples(60), deadline=None)
@given(schedules, times, times, times)
def test_latency_shifts_the_longest_path_exactly(schedule: Schedule, forward: int, backward: int, latency: int) -> None:
    timeline = simulate(schedule, Profile.uniform(forward=forward, backward=backward, p2p=latency)).timeline
    assert timeline.end_ns == longest_path(schedule, forward, backward, latency)


def sized(link: LinkCost, forward: int = 1000, backward: int = 2000, boundary: int = 1000, **fields: Any) -> Profile:
    size = {"boundary_bytes": boundary}
    return stage_machine(forward, backward, size=size, parameters=10, **({"links": {"local": link}} | fields))


@settings(max_examples=examples(30), deadline=None)
@given(schedules, times, times)
def test_infinite_bandwidth_and_no_latency_is_computation_only(schedule: Schedule, forward: int, backward: int) -> None:
    timeline = simulate(schedule, sized(LinkCost(), forward, backward)).timeline
    assert timeline.end_ns == longest_path(schedule, forward, backward, 0)


links = st.builds(
    LinkCost,
    latency_ns=st.integers(0, 3000),
    bandwidth_bytes_per_s=st.floats(1e8, 1e10),
    send_overhead_ns=st.integers(0, 300),
    receive_overhead_ns=st.integers(0, 300),
)


@settings(max_examples=examples(60), deadline=None)
@given(schedules, links, st.floats(1.0, 10.0), st.integers(0, 5000))
def test_better_links_never_slow_a_fixed_order(schedule: Schedule, link: LinkCost, faster: float, more: int) -> None:
    # Every time is a maximum of sums of durations as long as links are private, hence monotone.
    assert link.bandwidth_bytes_per_s is not None
    plan = lower(schedule)
    base = simulate(plan, sized(link)).timeline.end_ns
    wider = replace(link, bandwidth_bytes_per_s=faster * link.bandwidth_bytes_per_s)
    longer = replace(link, latency_ns=link.latency_ns + more)
    assert simulate(plan, sized(wider)).timeline.end_ns <= base <= simulate(plan, sized(longer)).timeline.end_ns


@settings(max_examples=examples(120), deadline=None)
@given(any_schedule(max_stages=6, max_microbatches=16), links, st.booleans(), st.integers(0, 3000), st.integers(1, 2))
def test_clocks_that_run_ahead_find_the_moments_of_devices_that_stop_at_every_action(
    schedule: Schedule, link: LinkCost, queueing: bool, reduce: int, width: int
) -> None:
    profile = sized(
        replace(link, queueing=queueing),
        all_reduce=AllReduceCost(latency_ns=reduce),
        optimizer=OptimizerCost(constant_ns=90),
        overheads=Overheads(dispatch_ns=11, iteration_ns=5),
    )
    workload = Workload(lower(schedule, width=width), profile, Durations(schedule, profile), width)
    assert reference.run(workload) == reference.run(workload, ahead=False)


@settings(max_examples=examples(30), deadline=None)
@given(schedules, links, st.integers(2, 7))
def test_time_scales_linearly(schedule: Schedule, link: LinkCost, factor: int) -> None:
    link = replace(link, bandwidth_bytes_per_s=1e9)  # one ns a byte: no rounding
    slow = LinkCost(factor * link.latency_ns, 1e9, factor * link.send_overhead_ns, factor * link.receive_overhead_ns)
    reduce, slow_reduce = AllReduceCost(600), AllReduceCost(600 * factor)
    base = simulate(schedule, sized(link, all_reduce=reduce)).timeline
    scaled = simulate(
        schedule, sized(slow, factor * 1000, factor * 2000, factor * 1000, all_reduce=slow_reduce)
    ).timeline
    assert scaled.end_ns == factor * base.end_ns
    assert [s.start_ns for s in scaled.spans] == [factor * s.start_ns for s in base.spans]


@settings(max_examples=examples(30), deadline=None)
@given(schedules, links, st.randoms(use_true_random=False))
def test_names_of_devices_do_not_matter(schedule: Schedule, link: LinkCost, random: object) -> None:
    names = list(range(schedule.devices))
    random.shuffle(names)  # type: ignore[attr-defined]
    inverse = sorted(names, key=names.__getitem__)
    renamed = replace(
        schedule,
        placement=tuple(tuple(names[device] for device in row) for row in schedule.placement),
        actions=tuple(schedule.actions[device] for device in inverse),
    )
    profile = sized(link, all_reduce=AllReduceCost(500))
    assert simulate(renamed, profile).timeline.end_ns == simulate(schedule, profile).timeline.end_ns


@settings(max_examples=examples(30), deadline=None)
@given(schedules, links)
def test_nothing_is_faster_than_the_lower_bound(schedule: Schedule, link: LinkCost) -> None:
    prediction = simulate(schedule, sized(link))
    assert prediction.lower_bound_s <= prediction.metrics.pipeline_ns / 1e9


@settings(max_examples=examples(60), deadline=None)
@given(schedule=schedules, slow=st.lists(st.floats(1, 4), min_size=8, max_size=8))
def test_nothing_is_faster_than_the_lower_bound_of_slow_devices(schedule: Schedule, slow: list[float]) -> None:
    factors = {device: slow[device % 8] for device in range(schedule.devices)}
    prediction = simulate(schedule, Profile.uniform(forward=1000, backward=2000), slow_devices=factors)
    assert prediction.lower_bound_s <= prediction.metrics.pipeline_ns / 1e9


def test_slow_devices_take_the_less_of_the_work_the_slower_they_are() -> None:
    """24 ms of work on two devices, one half as fast: 16 and 8 of it, in 16 ms; both half as fast: 24 ms."""
    schedule, profile = build("gpipe", stages=2, microbatches=4), Profile.uniform(forward="1ms", backward="2ms")
    bounds = [simulate(schedule, profile, slow_devices=slow).lower_bound_s for slow in ({1: 2.0}, {0: 2.0, 1: 2.0})]
    assert bounds == [pytest.approx(0.016, abs=1e-7), pytest.approx(0.024, abs=1e-7)]


def test_lower_bound_is_reached_by_one_device_and_by_one_microbatch() -> None:
    profile = Profile.uniform(forward=1000, backward=2000)
    assert simulate(build("gpipe", stages=1, microbatches=5), profile).lower_bound_s == 15e-6
    # one micro-batch through 4 stages: 4 F + 4 I, then W of the first stage: 4000 + 4 x 1000 + 1000
    assert simulate(build("gpipe", stages=4, microbatches=1), profile).lower_bound_s == 9e-6


def test_messages_of_one_link_queue() -> None:
    # 2 stages, 2 micro-batches, F = B = 10 ns, messages hold the link 100 ns:
    # arrivals at 110 and 210, so the last stage's F start at 110 and 210; its B (GPipe) at 220, 230;
    # gradients arrive at 330 and 430; the first stage ends at 440.
    profile = sized(LinkCost(latency_ns=60, bandwidth_bytes_per_s=1e9), 10, 10, 40)
    timeline = simulate(build("gpipe", stages=2, microbatches=2), profile).timeline
    assert [span.start_ns for span in timeline.of_device(1)] == [110, 210, 220, 230]
    assert timeline.end_ns == 440


def test_overheads_hold_the_device() -> None:
    # dispatch 1, F = 10, send 2, pure delay 5, receive 3: last F starts at 1+10+2+5+3+1 = 22, ends 32;
    # B 32+1..43; send 45, arrives 50, received 53, dispatched 54, ends 64; 7 for the iteration
    link = LinkCost(latency_ns=5, send_overhead_ns=2, receive_overhead_ns=3, queueing=False)
    profile = sized(link, 10, 10, overheads=Overheads(dispatch_ns=1, iteration_ns=7))
    timeline = simulate(build("gpipe", stages=2, microbatches=1), profile).timeline
    assert [(s.start_ns, s.end_ns) for s in timeline.spans if s.stream == "compute"] == [
        (1, 11),
        (54, 64),
        (22, 32),
        (33, 43),
    ]
    assert timeline.end_ns == 71
    assert [(t.sent_ns, t.arrived_ns, t.needed_ns) for t in timeline.transfers] == [(45, 50, 13), (13, 18, 0)]


def test_a_shared_nic_serialises_the_messages_of_a_node() -> None:
    # Stages 0..3 on devices 0, 2, 1, 3 of nodes {0, 1} and {2, 3}: every message crosses nodes, and
    # 0 -> 2 and 1 -> 3 leave the same node. 1000 bytes at 1e8 bytes/s hold a NIC for 10,000 ns.
    schedule = build("dapple", stages=4, microbatches=6)
    names = [0, 2, 1, 3]
    crossing = replace(schedule, placement=(tuple(names),), actions=tuple(schedule.actions[d] for d in names))
    profile = sized(LinkCost(), links={"same_node": LinkCost(), "other_node": LinkCost(bandwidth_bytes_per_s=1e8)})
    alone = simulate(crossing, replace(profile, topology=Topology(2))).timeline
    shared = simulate(crossing, replace(profile, topology=Topology(2, shared_nic=True))).timeline

    def overlaps(timeline: Timeline) -> int:
        starts = sorted(t.arrived_ns - 10_000 for t in timeline.transfers if t.source < 2)
        return sum(later - earlier < 10_000 for earlier, later in pairwise(starts))

    assert overlaps(alone) > 0
    assert overlaps(shared) == 0
    assert shared.end_ns > alone.end_ns


def test_an_all_reduce_starts_with_its_last_member_and_the_step_waits() -> None:
    profile = sized(LinkCost(), 1000, 1000, all_reduce=AllReduceCost(latency_ns=500))
    timeline = simulate(build("chimera", stages=2, microbatches=2, sync="end"), profile).timeline
    computed = max(span.end_ns for span in timeline.spans if span.stream == "compute")
    reduces = {span.action.parts[0].stage: span for span in timeline.spans if span.stream == "sync"}
    # ring over two: 2 (r - 1) alpha = 1000; both stages' groups are devices {0, 1}: one after the other
    assert sorted((s.start_ns, s.end_ns) for s in reduces.values()) == [
        (computed, computed + 1000),
        (computed + 1000, computed + 2000),
    ]
    for span in timeline.spans:
        if span.stream == "optimizer":
            assert span.start_ns >= reduces[span.action.parts[0].stage].end_ns


def test_the_same_seed_gives_the_same_bytes() -> None:
    profile = Profile.uniform(forward=10**6)
    cost = replace(profile.layers[0].costs[0], forward_spread=0.05, backward_spread=0.05)
    profile = replace(profile, layers=(replace(profile.layers[0], costs=(cost,)),))
    schedule = build("dapple", stages=4, microbatches=8)
    first, again, other = (simulate(schedule, profile, samples=20, seed=seed) for seed in (1, 1, 2))
    assert repr(first.as_json()) == repr(again.as_json())
    assert first.interval_s != other.interval_s
    assert first.interval_s is not None and first.interval_s[0] < first.interval_s[1] < first.interval_s[2]


def deadlocked(rows: tuple[tuple[Action, ...], ...]) -> Plan:
    schedule = Schedule("custom", 2, 2, 1, ((0, 1),), (0,), rows)
    return Plan(schedule, rows, ())


def test_a_deadlock_names_device_action_and_what_it_waits_for() -> None:
    # Device 1 consumes 0F0 before device 0 sends it, device 0's backward precedes its forward's message.
    forward, backward = Action(0, Kind.F, 0), Action(0, Kind.B, 0)
    rows = (
        (Action(0, Kind.RECV_B, 0), forward, backward, Action(0, Kind.SEND_F, 0)),
        (Action(1, Kind.RECV_F, 0), Action(1, Kind.F, 0), Action(1, Kind.B, 0), Action(1, Kind.SEND_B, 0)),
    )
    reason = r"device 0, position 2: 0B0 waits for 0RECV_B0 from device 1.*1F0"
    with pytest.raises(DeadlockError, match=reason) as caught:
        simulate(deadlocked(rows), Profile.uniform())
    assert (caught.value.device, caught.value.position) == (0, 2)


def test_a_local_input_computed_too_late_is_a_deadlock() -> None:
    rows = ((Action(0, Kind.B, 0), Action(0, Kind.F, 0)),)
    plan = Plan(Schedule("custom", 1, 1, 1, ((0,),), (0,), rows), rows, ())
    with pytest.raises(DeadlockError, match="0B0 waits for 0F0, which its device has not computed"):
        simulate(plan, Profile.uniform())


def test_a_message_nobody_receives_is_refused() -> None:
    rows = ((Action(0, Kind.F, 0), Action(0, Kind.SEND_F, 0)), ())
    with pytest.raises(ScheduleError, match="received by nobody"):
        simulate(deadlocked(rows), Profile.uniform())
