"""All-reduce costs against the alpha-beta formulas, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.simulator.costs.collectives import all_reduce_ns, cost_among
from chimera.simulator.costs.profile import Algorithm, AllReduceCost, LinkCost, MeasuredReduce, Profile, Topology
from chimera.simulator.costs.what_if import with_slow_links


@pytest.mark.parametrize(
    ("algorithm", "group", "expected"),
    [
        # alpha = 10 ns, 8000 bytes at 1 byte a ns: ring 2 (r-1) alpha + 2 (r-1)/r L
        ("ring", 2, 20 + 8000),
        ("ring", 4, 60 + 12000),
        # Chimera paper 3.4: 2 log2(r) alpha + 2 (r-1)/r beta L
        ("rabenseifner", 2, 20 + 8000),
        ("rabenseifner", 4, 40 + 12000),
        ("rabenseifner", 8, 60 + 14000),
        ("tree", 4, 2 * 2 * (10 + 8000)),
        ("ring", 1, 0),
    ],
)
def test_formulas(algorithm: Algorithm, group: int, expected: int) -> None:
    assert all_reduce_ns(AllReduceCost(10, 1e9, algorithm), 8000, group) == expected


def test_a_measured_table_comes_first() -> None:
    table = (MeasuredReduce(2, 100, 50), MeasuredReduce(2, 300, 90))
    cost = AllReduceCost(10, 1e9, measured=table)
    assert [all_reduce_ns(cost, size, 2) for size in (0, 100, 200, 300, 500)] == [50, 50, 70, 90, 130]
    assert all_reduce_ns(cost, 8000, 4) == 60 + 12000


REDUCES = AllReduceCost(10, 1e9, "ring", measured=(MeasuredReduce(3, 8000, 900),))


@pytest.mark.parametrize(
    ("ranks", "factor", "expected"),
    [
        ([0, 1], 1, 20 + 8000),
        ([0, 1], 3, 3 * (20 + 8000)),  # latency three times, bandwidth a third
        ([0, 1, 2, 3], 3, 3 * (60 + 12000)),
        ([1, 2], 3, 20 + 8000),  # one end alone is in the group: nothing crosses the link
        ([2, 3], 3, 20 + 8000),
        ([0, 1, 2], 3, 2700),  # what was measured, three times as long
    ],
)
def test_a_slow_link_slows_the_all_reduces_whose_members_it_joins(
    ranks: list[int], factor: float, expected: int
) -> None:
    profile = replace(Profile.uniform(), all_reduce=REDUCES)
    slow = with_slow_links(profile, {(0, 1): factor})
    assert all_reduce_ns(cost_among(slow, ranks), 8000, len(ranks)) == expected


def test_between_nodes_the_slow_link_counts_once() -> None:
    # one rank a node: the links' 100 ns and 0.5 bytes a ns are worse than the all-reduce's own; both three times slower
    profile = replace(
        Profile.uniform(),
        all_reduce=replace(REDUCES, measured=()),
        links={"other_node": LinkCost(100, 5e8)},
        topology=Topology(devices_per_node=1),
    )
    slow = with_slow_links(profile, {(0, 1): 3})
    assert all_reduce_ns(cost_among(slow, [0, 1]), 8000, 2) == 3 * (200 + 16000)
