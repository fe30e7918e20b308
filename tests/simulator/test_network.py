"""Half duplex links, NICs and nodes: what must hold whatever the schedule, and all-reduces across nodes by hand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from math import ceil, lcm, log2
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import Span
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.collectives import all_reduce_ns, cost_among
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.network_costs import LinkClass
from chimera.simulator.costs.profile import (
    AllReduceCost,
    LayerCost,
    LinkCost,
    MeasuredReduce,
    SizeCost,
    SlowLink,
    Topology,
)
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.direct import engine as reference
from chimera.simulator.workload.contention import contention
from chimera.simulator.workload.workload import Workload
from tests.sizes import examples
from tests.strategies import schedules

some = schedules(("gpipe", "dapple", "interleaved", "chimera", "zb-h1"), max_stages=6, max_microbatches=8)
links = st.builds(
    LinkCost,
    latency_ns=st.integers(0, 3000),
    bandwidth_bytes_per_s=st.floats(1e8, 1e10),
    send_overhead_ns=st.integers(0, 300),
    receive_overhead_ns=st.integers(0, 300),
)


def sized(
    within: LinkCost,
    between: LinkCost,
    nodes: int | None = None,
    *,
    nic: bool = False,
    scale: int = 1,
    parameters: int = 250,
) -> Profile:
    cost = SizeCost(1, 1000 * scale, 2000 * scale, boundary_bytes=1000)
    links: dict[LinkClass, LinkCost] = (
        {"local": within} if nodes is None else {"same_node": within, "other_node": between}
    )
    return Profile(
        "sized",
        (LayerCost("stage", (cost,), parameters=parameters),),
        per_stage=True,
        links=links,
        topology=Topology(nodes, nic),
    )


def end_ns(schedule: Schedule, profile: Profile, width: int = 1) -> int:
    return simulate(schedule, profile, width=width).timeline.end_ns


@settings(max_examples=examples(60), deadline=None)
@given(some, links)
def test_half_duplex_is_never_faster_than_full(schedule: Schedule, link: LinkCost) -> None:
    """Both directions keep their own order; sharing only adds waits to a maximum of sums."""
    half = replace(link, half_duplex=True)
    assert end_ns(schedule, sized(half, half)) >= end_ns(schedule, sized(link, link))


@settings(max_examples=examples(60), deadline=None)
@given(some, links, st.integers(1, 3))
def test_a_nic_for_several_devices_is_never_faster_than_no_waiting_at_all(
    schedule: Schedule, link: LinkCost, nodes: int
) -> None:
    free = replace(link, queueing=False)
    assert end_ns(schedule, sized(link, link, nodes, nic=True)) >= end_ns(schedule, sized(free, free, nodes))


@settings(max_examples=examples(60), deadline=None)
@given(some, links, links, st.floats(1.0, 10.0), st.integers(0, 5000))
def test_a_better_network_between_nodes_never_slows_a_fixed_order(
    schedule: Schedule, within: LinkCost, between: LinkCost, faster: float, more: int
) -> None:
    """Bandwidth and latency apart; every moment is a maximum of sums as long as pairs of devices share nothing."""
    assert between.bandwidth_bytes_per_s is not None
    base = end_ns(schedule, sized(within, between, 2))
    wider = replace(between, bandwidth_bytes_per_s=faster * between.bandwidth_bytes_per_s)
    longer = replace(between, latency_ns=between.latency_ns + more)
    assert end_ns(schedule, sized(within, wider, 2)) <= base <= end_ns(schedule, sized(within, longer, 2))


@settings(max_examples=examples(40), deadline=None)
@given(some, links, links, st.booleans(), st.integers(2, 7))
@example(build("chimera", stages=6, microbatches=1, pairs=3), LinkCost(), LinkCost(), False, 2)  # rings of twelve
def test_time_scales_with_costs_latency_and_bytes_a_second(
    schedule: Schedule, within: LinkCost, between: LinkCost, nic: bool, factor: int
) -> None:
    def times(link: LinkCost, k: int) -> LinkCost:
        overheads = (k * link.send_overhead_ns, k * link.receive_overhead_ns)
        return LinkCost(k * link.latency_ns, 1e9 / k, *overheads, half_duplex=True)  # whole nanoseconds a byte

    # every number of chunks divides the costs, every number of ranks (six replicas twice) the gradients
    base, slow = (
        sized(times(within, k), times(between, k), 2, nic=nic, scale=60 * k, parameters=lcm(*range(1, 13)))
        for k in (1, factor)
    )
    assert end_ns(schedule, slow, width=2) == factor * end_ns(schedule, base, width=2)


@settings(max_examples=examples(60), deadline=None)
@given(some, links, links, st.booleans(), st.integers(1, 3), st.randoms(use_true_random=False))
def test_names_of_devices_in_equal_nodes_do_not_matter(
    schedule: Schedule, within: LinkCost, between: LinkCost, half: bool, nodes: int, random: Random
) -> None:
    """Nodes swap their numbers, and the devices of a node theirs; ties at a NIC are broken alike."""
    within, between = (replace(link, half_duplex=half, bandwidth_bytes_per_s=1e9) for link in (within, between))
    whole = schedule.devices // nodes * nodes
    groups = [random.sample(range(first, first + nodes), nodes) for first in range(0, whole, nodes)]
    random.shuffle(groups)
    names = [device for group in groups for device in group] + list(range(whole, schedule.devices))
    renamed = replace(
        schedule,
        placement=tuple(tuple(names[device] for device in row) for row in schedule.placement),
        actions=tuple(schedule.actions[names.index(device)] for device in range(schedule.devices)),
    )
    profile = sized(within, between, nodes, nic=True)
    assert end_ns(renamed, profile) == end_ns(schedule, profile)


def overlapping(crossings: list[tuple[int, int]]) -> bool:
    ordered = sorted(crossings)
    return any(end > start for (_, end), (start, _) in pairwise(ordered))


@settings(max_examples=examples(60), deadline=None)
@given(some, st.integers(1, 3000), st.integers(1, 3))
def test_nothing_is_used_by_two_messages_at_once(schedule: Schedule, latency: int, nodes: int) -> None:
    """Half duplex links within nodes, a NIC that sends and receives at once between them; all messages take as long."""
    within, between = LinkCost(latency, half_duplex=True), LinkCost(latency)
    timeline = simulate(schedule, sized(within, between, nodes, nic=True)).timeline
    used: dict[object, list[tuple[int, int]]] = defaultdict(list)
    for transfer in timeline.transfers:
        crossing = (transfer.arrived_ns - latency, transfer.arrived_ns)
        ends = (transfer.source // nodes, transfer.target // nodes)
        if ends[0] == ends[1]:
            used[frozenset((transfer.source, transfer.target))].append(crossing)
        else:
            used["out", ends[0]].append(crossing)
            used["in", ends[1]].append(crossing)
    assert all(transfer.sent_ns + latency <= transfer.arrived_ns for transfer in timeline.transfers)
    assert not any(map(overlapping, used.values()))


@settings(max_examples=examples(40), deadline=None)
@given(some, links, links, st.integers(1, 3), st.integers(1, 2), st.floats(1.0, 5.0))
def test_both_engines_agree_on_nodes_and_slow_links(
    schedule: Schedule, within: LinkCost, between: LinkCost, nodes: int, width: int, factor: float
) -> None:
    base = sized(within, between, nodes)
    profile = replace(base, topology=replace(base.topology, slow_links=(SlowLink(0, schedule.devices - 1, factor),)))
    workload = Workload(lower(schedule, width=width), profile, Durations(schedule, profile), width)
    if contention(workload) is None:
        assert CompiledWorkload(workload).times() == reference.run(workload)


def test_a_half_duplex_link_carries_one_message_at_a_time() -> None:
    """1F1B on two devices, three micro-batches, F = B = 10, messages 100 ns."""
    link = LinkCost(latency_ns=100)
    schedule = build("dapple", stages=2, microbatches=3)
    full = simulate(schedule, replace(sized(link, link), layers=(LayerCost("s", (SizeCost(1, 10, 10),)),))).timeline
    shared = replace(link, half_duplex=True)
    half = simulate(schedule, replace(sized(shared, shared), layers=(LayerCost("s", (SizeCost(1, 10, 10),)),))).timeline

    def crossings(transfers: object) -> list[int]:
        return sorted(transfer.arrived_ns for transfer in transfers)  # type: ignore[attr-defined]

    # Full: activations arrive at 110, 210 (sent 20); 1F0 1B0 110-130, gradient arrives 230; 1F1 1B1 210-230, so 330.
    # 0B0 230-240, 0F2 240-250, arrives 350; 0B1 330-340; 1F2 1B2 350-370, arrives 470, 0B2 ends at 480.
    assert crossings(full.transfers) == [110, 210, 230, 330, 350, 470] and full.end_ns == 480
    # Half: the first gradient (sent 130) waits for the second activation until 210, arrives 310; the second (sent 230)
    # then crosses 310-410; 0B0 310-320, 0F2 320-330 sent, crosses 410-510; 1F2 1B2 510-530, crosses 530-630, 0B2 ends
    # at 640.
    assert crossings(half.transfers) == [110, 210, 310, 410, 510, 630] and half.end_ns == 640


def test_the_compiled_engine_refuses_half_duplex_with_the_reason() -> None:
    link = LinkCost(latency_ns=100, half_duplex=True)
    with pytest.raises(InputError, match="both directions"):
        simulate(build("dapple", stages=2, microbatches=2), sized(link, link), engine="compiled")


WITHIN, BETWEEN = LinkCost(1000, 10e9), LinkCost(20_000, 1e9)


@pytest.mark.parametrize(("nodes", "latency", "bandwidth"), [(4, 1000, 10e9), (2, 20_000, 1e9), (1, 20_000, 1e9)])
@pytest.mark.parametrize("algorithm", ["ring", "rabenseifner", "tree"])
def test_an_all_reduce_pays_the_links_between_its_ranks(
    nodes: int, latency: int, bandwidth: float, algorithm: str
) -> None:
    """Two devices in two copies are ranks 0 1 | 2 3: a stage's two ranks share a node only if it holds all four."""
    profile = replace(sized(WITHIN, BETWEEN, nodes), all_reduce=AllReduceCost(algorithm=algorithm))  # type: ignore[arg-type]
    spans = simulate(build("gpipe", stages=2, microbatches=1), profile, width=2).timeline.spans
    took = {span.end_ns - span.start_ns for span in spans if span.stream == "sync"}
    transfer = 250 * 4 / bandwidth * 1e9
    # r = 2: ring 2 (r-1) alpha + 2 (r-1)/r L/b; Rabenseifner 2 log2(r) alpha + the same; tree 2 log2(r) (alpha + L/b)
    expected = 2 * latency + (2 * transfer if algorithm == "tree" else transfer)
    assert took == {round(expected)}


@pytest.mark.parametrize(("group", "size"), [(4, 100), (4, 10**9), (64, 100), (64, 10**6), (64, 10**10), (5, 10**7)])
def test_auto_is_the_fastest_algorithm_for_size_and_group(group: int, size: int) -> None:
    alpha, transfer, rounds = 20_000, size / 1e9 * 1e9, ceil(log2(group))
    ring = 2 * (group - 1) * alpha + 2 * (group - 1) / group * transfer
    rabenseifner = 2 * rounds * alpha + 2 * (group - 1) / group * transfer
    tree = 2 * rounds * (alpha + transfer)
    assert all_reduce_ns(AllReduceCost(alpha, 1e9, "auto"), size, group) == round(min(ring, rabenseifner, tree))


def test_what_was_measured_on_one_node_does_not_count_for_two() -> None:
    measured = (MeasuredReduce(2, 1000, 77), MeasuredReduce(2, 1000, 7777, nodes=2))
    profile = replace(sized(WITHIN, BETWEEN, 2), all_reduce=AllReduceCost(measured=measured))
    assert all_reduce_ns(cost_among(profile, [0, 1]), 1000, 2) == 77
    assert all_reduce_ns(cost_among(profile, [0, 2]), 1000, 2) == 7777
    assert all_reduce_ns(cost_among(profile, [0, 2, 4]), 0, 3) == 4 * 20_000


def reductions(profile: Profile, schedule: Schedule, width: int) -> dict[int, Span]:
    spans = simulate(schedule, profile, width=width).timeline.spans
    return {span.action.parts[0].stage: span for span in spans if span.stream == "sync"}


def test_all_reduces_of_a_node_take_turns_at_its_nic() -> None:
    """Two devices, two copies, a node each: both all-reduces (2 exchanges of 20.5 us) leave node 0."""
    schedule = build("gpipe", stages=2, microbatches=1)
    alone = reductions(sized(LinkCost(), BETWEEN, 2), schedule, 2)
    shared = reductions(sized(LinkCost(), BETWEEN, 2, nic=True), schedule, 2)
    exchange = 20_000 + 500
    assert {span.end_ns - span.start_ns for span in alone.values()} == {2 * exchange}
    # stage 1 starts at 4000, stage 0 when device 0 is done, 2000 later: its exchanges follow one of stage 1 each
    assert (shared[1].start_ns, shared[0].start_ns) == (4000, 6000)
    assert shared[1].end_ns == 4000 + 3 * exchange
    assert shared[0].end_ns == 4000 + 4 * exchange


def test_an_all_reduce_waits_for_a_message_that_leaves_by_the_same_nic() -> None:
    """Every device a node: device 1 sends its gradient (21 us) as it launches its all-reduce, and that comes second."""
    schedule = build("gpipe", stages=2, microbatches=1)
    alone = reductions(sized(LinkCost(), BETWEEN, 1), schedule, 2)[1]
    shared = reductions(sized(LinkCost(), BETWEEN, 1, nic=True), schedule, 2)[1]
    assert shared.start_ns == alone.start_ns
    assert shared.end_ns == alone.end_ns + 21_000


def test_copies_that_stand_differently_on_nodes_are_announced() -> None:
    schedule = build("gpipe", stages=3, microbatches=1)
    unlike, alike = (simulate(schedule, sized(WITHIN, BETWEEN, nodes), width=2).assumptions for nodes in (2, 3))
    assert any("stand differently" in line for line in unlike)
    assert not any("stand differently" in line for line in alike)


def test_all_reduces_hold_up_messages_at_the_nic() -> None:
    """PipeDream in two copies all-reduces after every backward; only devices 1 and 2 send messages between nodes."""
    schedule = build("pipedream", stages=4, microbatches=6)

    def waited(*, nic: bool, width: int) -> bool:
        profile = sized(LinkCost(), LinkCost(bandwidth_bytes_per_s=1e9), 2, nic=nic)
        transfers = simulate(schedule, profile, width=width).timeline.transfers
        return any(t.arrived_ns - t.sent_ns > 1000 for t in transfers if {t.source, t.target} == {1, 2})

    assert waited(nic=True, width=2)
    assert not waited(nic=False, width=2)
    assert not waited(nic=True, width=1)
