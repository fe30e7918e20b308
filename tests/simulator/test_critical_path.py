"""The critical path and the devices' shares: by hand, and as properties of every schedule."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedules import build, catalogue
from chimera.simulator import Profile
from chimera.simulator.costs.profile import (
    AllReduceCost,
    LayerCost,
    LinkCost,
    OptimizerCost,
    Overheads,
    SizeCost,
    Topology,
)
from chimera.simulator.engines.direct import engine as reference
from chimera.simulator.engines.exchanges import TRANSPORTS, Transport
from chimera.simulator.predicting.conditions import Conditions, workload_under
from chimera.simulator.reasons.critical_path import critical_path
from chimera.simulator.reasons.time_shares import device_shares
from chimera.simulator.workload.workload import Workload
from tests.sizes import examples


def workload_of(
    name: str, stages: int, microbatches: int, profile: Profile, width: int = 1, semantics: Transport = "buffered"
) -> Workload:
    schedule = build(name, stages=stages, microbatches=microbatches)
    return workload_under(schedule, profile, Conditions(width=width, semantics=semantics))


small = st.integers(0, 2000)
link_costs = st.builds(
    LinkCost, small, st.just(1e9), st.integers(0, 99), st.integers(0, 99), st.booleans(), st.booleans()
)
profiles = st.builds(
    lambda forward, backward, size, link, reduce, step, dispatch, shared: Profile(
        "drawn",
        (LayerCost("s", (SizeCost(1, forward, backward, boundary_bytes=size),), parameters=9),),
        per_stage=True,
        links={"local": link, "same_node": link, "other_node": link},
        topology=Topology(devices_per_node=2, shared_nic=True) if shared else Topology(),
        all_reduce=AllReduceCost(latency_ns=reduce),
        optimizer=OptimizerCost(constant_ns=step),
        overheads=Overheads(dispatch_ns=dispatch, iteration_ns=dispatch),
    ),
    small,
    small,
    small,
    link_costs,
    small,
    small,
    st.integers(0, 99),
    st.booleans(),
)


@pytest.mark.parametrize("name", [entry.name for entry in catalogue() if not entry.reads_file])
@settings(max_examples=examples(25), deadline=None)
@given(
    profile=profiles,
    width=st.integers(1, 2),
    shape=st.sampled_from([(2, 4), (4, 4), (4, 8)]),
    semantics=st.sampled_from(TRANSPORTS),
)
def test_path_and_shares_cover_the_iteration(
    name: str, profile: Profile, width: int, shape: tuple[int, int], semantics: Transport
) -> None:
    try:
        workload = workload_of(name, *shape, profile, width, semantics)
    except InputError:
        return  # not every schedule has every shape
    times = reference.run(workload, None, semantics)
    path = critical_path(workload, times, semantics)
    assert sum(piece.end_ns - piece.start_ns for piece in path) == times.end_ns
    assert all(before.end_ns == after.start_ns for before, after in pairwise(path))
    assert all(piece.waited_for for piece in path[1:])
    for shares in device_shares(workload, times, semantics):
        assert sum(shares.named().values()) == times.end_ns
        assert min(shares.named().values()) >= 0
        assert sum(shares.waited_for.values()) == shares.wait_forward + shares.wait_backward + shares.transfer


def test_by_hand() -> None:
    """Two stages, two micro-batches, F = 1, B = 2, messages 1 (units of 10 ns), GPipe.

    Device 0: F0 0-1, F1 1-2. Messages arrive at 2 and 3. Device 1: F0 2-3, F1 3-4, B0 4-6, B1 6-8
    (GPipe runs backwards in the order of the forwards). Gradients arrive at 7 and 9: device 0 runs
    B0 7-9 and B1 9-11, free exactly when the second gradient is there.
    """
    workload = workload_of("gpipe", 2, 2, Profile.uniform(forward=10, backward=20, p2p=10))
    times = reference.run(workload)
    assert times.end_ns == 110
    path = [
        (piece.kind, piece.device, piece.subject, piece.start_ns, piece.end_ns)
        for piece in critical_path(workload, times)
    ]
    assert path == [
        ("compute", 0, "0F0", 0, 10),
        ("message", 0, "1RECV_F0", 10, 20),
        ("compute", 1, "1F0", 20, 30),
        ("compute", 1, "1F1", 30, 40),
        ("compute", 1, "1B0", 40, 60),
        ("message", 1, "0RECV_B0", 60, 70),
        ("compute", 0, "0B0", 70, 90),
        ("compute", 0, "0B1", 90, 110),
    ]
    first, second = device_shares(workload, times)
    assert (first.compute, first.wait_backward, first.transfer) == (60, 40, 10)
    assert (second.compute, second.start_up, second.drain) == (60, 20, 30)
    assert first.waited_for == {1: 50}


def test_a_queue_on_the_link_is_the_reason() -> None:
    """Messages of 50 ns behind forwards of 10: the second waits until the link is free (10+50), then takes 50."""
    profile = replace(Profile.uniform(forward=10, backward=0), links={"local": LinkCost(50)})
    workload = workload_of("gpipe", 2, 2, profile)
    path = critical_path(workload, reference.run(workload))
    held = [piece for piece in path if "the link, held by" in piece.waited_for]
    assert [(piece.subject, piece.start_ns, piece.end_ns) for piece in held[:1]] == [("1RECV_F1", 60, 110)]


def test_a_rendezvous_by_hand() -> None:
    """Two stages, two micro-batches, F = 1, B = 2, messages 1 (units of 10 ns), GPipe, sends that hold.

    Device 0: F0 0-1, holds until its message has crossed, 2, F1 2-3, holds until device 1 has computed
    F0 (2-3) and the message has crossed, 4. Device 1: F1 4-5, B0 5-7, holds until 8, B1 8-10, holds
    until 11. Device 0: B0 8-10; then it takes the second gradient, 10-11, and B1 ends at 13. Both are
    ready for the second messages at 3 and at 10: then the sender counts.
    """
    workload = workload_of("gpipe", 2, 2, Profile.uniform(forward=10, backward=20, p2p=10), 1, "rendezvous")
    times = reference.run(workload, None, "rendezvous")
    assert times.end_ns == 130
    path = critical_path(workload, times, "rendezvous")
    assert [(piece.kind, piece.device, piece.subject, piece.start_ns, piece.end_ns) for piece in path] == [
        ("compute", 0, "0F0", 0, 10),
        ("message", 0, "1RECV_F0", 10, 20),
        ("compute", 0, "0F1", 20, 30),
        ("message", 0, "1RECV_F1", 30, 40),
        ("compute", 1, "1F1", 40, 50),
        ("compute", 1, "1B0", 50, 70),
        ("message", 1, "0RECV_B0", 70, 80),
        ("compute", 1, "1B1", 80, 100),
        ("message", 1, "0RECV_B1", 100, 110),
        ("compute", 0, "0B1", 110, 130),
    ]
    first, second = device_shares(workload, times, "rendezvous")
    assert (first.compute, first.transfer, first.wait_backward) == (60, 40, 30)
    assert (second.start_up, second.transfer, second.drain) == (20, 30, 20)


def test_a_receive_at_the_head_of_a_stream_is_the_reason() -> None:
    """Interleaved schedules of early receives: what is ready waits behind a receive whose data are still to come."""
    profile = Profile.uniform(forward="1ms", backward="2ms", p2p="100us")
    workload = workload_of("interleaved", 4, 8, profile, 1, "stream")
    path = critical_path(workload, reference.run(workload, None, "stream"), "stream")
    assert any("stream, held by" in piece.waited_for for piece in path)


def test_times_of_another_transport_are_refused() -> None:
    workload = workload_of("dapple", 4, 4, Profile.uniform(p2p="1ms"), 1, "rendezvous")
    with pytest.raises(InputError, match="buffered"):
        critical_path(workload, reference.run(workload, None, "rendezvous"))
