"""Mutual slowdown of all-reduce and computation, by hand and on a machine invented for the test."""

from __future__ import annotations

import pytest

from chimera.calibration.fitting.overlap import fit_slowdowns
from chimera.calibration.measuring.probes import OverlapProbe


def test_rates_by_hand() -> None:
    # Alone 10 and 30. Together the all-reduce takes 20: half as fast. The computation ends at 40, and 20
    # of its 30 were done after the all-reduce: it did 10 in the first 20, half as fast, too.
    assert fit_slowdowns([OverlapProbe(10, 30, 20, 40)]) == (2.0, 2.0)


@pytest.mark.parametrize(("compute", "reduce"), [(1.0, 1.0), (1.5, 1.0), (1.25, 3.0)])
def test_a_machine_with_known_rates_is_recovered(compute: float, reduce: float) -> None:
    rows = []
    for reduce_alone in (1_000_000, 2_000_000, 3_000_000):
        compute_alone = 10 * reduce_alone
        reduce_end = round(reduce_alone * reduce)
        compute_end = round(reduce_end + compute_alone - reduce_end / compute)
        rows.append(OverlapProbe(reduce_alone, compute_alone, reduce_end, compute_end))
    assert fit_slowdowns(rows) == pytest.approx((compute, reduce))


def test_what_was_not_outlasted_says_nothing() -> None:
    assert fit_slowdowns([OverlapProbe(10, 30, 50, 40)]) == (1.0, 1.0)
    assert fit_slowdowns([]) == (1.0, 1.0)
