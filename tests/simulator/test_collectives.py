"""All-reduce costs against the alpha-beta formulas, worked out by hand."""

from __future__ import annotations

import pytest

from simulator.costs.collectives import all_reduce_ns
from simulator.costs.profile import Algorithm, AllReduceCost, MeasuredReduce


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
