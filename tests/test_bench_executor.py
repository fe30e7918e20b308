"""The benchmark beside torch's schedules runs and pairs every contestant with torch's; it asserts no timing."""

from __future__ import annotations

import pytest

from benchmarks.bench_executor import OURS, measure, table
from chimera.calibration.measuring.session import available_cores


@pytest.mark.multiprocess
@pytest.mark.timing
@pytest.mark.skipif(available_cores() < 2, reason="two ranks need a core each")
def test_all_contestants_take_the_same_number_of_turns() -> None:
    found = measure("mlp-tiny", microbatches=2, size=2, rounds=2)
    assert list(found) == [*OURS, "torch 1F1B", "torch GPipe"]
    assert all(len(seconds) == 2 and (seconds > 0).all() for seconds in found.values())
    assert table(found).count("\n") == 1 + len(found)
