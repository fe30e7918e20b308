"""What limits a configuration: one cause at a time put in, and found again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.pipeline.lowering.lower import Receives
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.network_costs import LinkClass
from chimera.simulator.costs.profile import AllReduceCost, LayerCost, LinkCost, Overheads, SizeCost, Topology
from chimera.simulator.engines.exchanges import Transport
from chimera.simulator.reasons.explain import Explanation, explain_prediction

BASE = Profile.uniform(forward=1000, backward=2000)


def explained(
    name: str, profile: Profile, stages: int = 4, microbatches: int = 8, capacity: int | None = None
) -> Explanation:
    prediction = simulate(build(name, stages=stages, microbatches=microbatches), profile)
    return explain_prediction(prediction, capacity_bytes=capacity)


def test_dapples_bubble_is_the_papers() -> None:
    """Table 2: DAPPLE's bubble ratio is (D-1)/(N+D-1) = 3/11, of 11 x 3000 ns."""
    found = explained("dapple", BASE)
    assert (found.limit, found.losses.bubble, found.losses.compute) == ("bubble", 9000, 24000)


@pytest.mark.parametrize(
    ("limit", "profile"),
    [
        ("link", replace(BASE, links={"local": LinkCost(latency_ns=5000)})),
        ("overhead", replace(BASE, overheads=Overheads(dispatch_ns=5000))),
        ("overhead", replace(BASE, links={"local": LinkCost(0, None, 2000, 2000)})),
        ("contention", replace(BASE, cores=1)),
        ("synchronisation", replace(BASE, all_reduce=AllReduceCost(latency_ns=50_000))),
    ],
)
def test_what_costs_most_is_named(limit: str, profile: Profile) -> None:
    found = explained("chimera", profile)
    assert found.limit == limit
    assert sum(found.losses) == found.iteration_ns == sum(found.path_ns().values())


def test_a_half_duplex_link_limits_where_both_directions_are_busy() -> None:
    """Interleaved on two devices sends every result to and fro."""
    found = explained("interleaved", replace(BASE, links={"local": LinkCost(2000, half_duplex=True)}), 2)
    full = explained("interleaved", replace(BASE, links={"local": LinkCost(2000)}), 2)
    assert (found.limit, full.limit) == ("network", "link")
    assert found.losses.network == found.iteration_ns - full.iteration_ns
    assert sum(found.losses) == found.iteration_ns == sum(found.path_ns().values())


def test_a_shared_nic_limits_where_all_reduces_take_turns_at_it() -> None:
    """Chimera's four groups of two devices across two nodes, two all-reduces of 16 us each: 8 in a row, or 2."""
    layer = LayerCost("s", (SizeCost(1, 1000, 2000),), parameters=4000)
    links: dict[LinkClass, LinkCost] = {"same_node": LinkCost(), "other_node": LinkCost(bandwidth_bytes_per_s=1e9)}
    profile = replace(BASE, layers=(layer,), links=links, topology=Topology(4, shared_nic=True))
    found = explained("chimera", profile, 8)
    assert found.limit == "network" and "NIC" in found.evidence
    assert found.losses.network > 4 * 16_000
    assert found.path_ns()["all-reduce"] > 6 * 16_000


@pytest.mark.parametrize(("receives", "cost_ns"), [("early", 5_900_000), ("late", 0)])
def test_head_of_line_blocking_is_what_a_stream_costs(receives: Receives, cost_ns: int) -> None:
    """docs/simulating.md: 67.4 ms with early receives, 61.5 ms with late ones as with buffered messages."""
    schedule, profile = (
        build("interleaved", stages=8, microbatches=16),
        Profile.uniform(forward="1ms", backward="2ms", p2p="100us"),
    )
    found = explain_prediction(simulate(schedule, profile, semantics="stream", receives=receives))
    assert found.losses.transport == cost_ns
    assert sum(found.losses) == found.iteration_ns == sum(found.path_ns().values())


@pytest.mark.parametrize("semantics", ["rendezvous", "batched"])
def test_sends_that_wait_for_their_receives_limit(semantics: Transport) -> None:
    """The same plan takes 61.5 ms where nobody waits; all above that is what waiting costs."""
    schedule, profile = (
        build("interleaved", stages=8, microbatches=16),
        Profile.uniform(forward="1ms", backward="2ms", p2p="100us"),
    )
    found = explain_prediction(simulate(schedule, profile, semantics=semantics))
    assert found.limit == "transport"
    assert found.losses.transport == found.iteration_ns - 61_500_000


def test_unequal_stages_are_imbalance() -> None:
    """One layer of two is three times the other: the average is 4000 of 6000 a micro-batch.

    GPipe, D = 2, N = 8: stages of F = 1000, 3000 and B = 1000, 3000. The slow device is busy for
    8 x 6000 and idle for F0 + B0 = 2000: 50000. Balanced, F = B = 2000: (N+D-1) x 4000 = 36000.
    """
    layers = tuple(LayerCost(f"{cost}", (SizeCost(1, cost, cost),)) for cost in (1000, 3000))
    found = explained("gpipe", Profile("unequal", layers, partition=(1, 1)), 2)
    assert found.iteration_ns == 50_000
    assert (found.limit, found.losses.imbalance, found.losses.bubble) == ("imbalance", 14_000, 4000)
    assert (found.busiest, found.idlest) == (1, 0)


def test_without_losses_computation_limits() -> None:
    found = explained("gpipe", BASE, stages=1)
    assert found.limit == "compute"
    assert found.as_json()["losses_s"]["bubble"] == 0


def test_the_first_device_out_of_memory() -> None:
    """Activations of 10 bytes: GPipe's device 0 stores the third, at 2000 ns, before device 1 does."""
    profile = replace(BASE, layers=(LayerCost("stage", (SizeCost(1, 1000, 2000, activation_bytes=10),)),))
    found = explained("gpipe", profile, capacity=25)
    assert found.limit == "memory"
    assert found.memory is not None
    assert (found.memory.device, found.memory.time_ns, found.memory.cause, found.memory.held_bytes) == (
        0,
        2000,
        "0F2",
        30,
    )
    assert explained("gpipe", profile, capacity=80).memory is None
