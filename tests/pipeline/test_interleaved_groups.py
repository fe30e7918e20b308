"""Groups below the number of devices run exactly where their order can, by the independent soundness check."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedules import build
from chimera.pipeline.soundness.check import check


@pytest.mark.parametrize(("stages", "microbatches", "v", "group"), [(2, 2, 2, 1), (2, 4, 2, 1), (4, 8, 2, 7)])
def test_small_groups_that_run_are_not_refused(stages: int, microbatches: int, v: int, group: int) -> None:
    """D = 2, v = 2, groups of one run; so do eight micro-batches as seven and one on four devices."""
    check(build("interleaved", stages=stages, microbatches=microbatches, v=v, group=group))


@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 3), st.integers(1, 13))
def test_what_is_built_is_sound_and_groups_of_d_always_are(stages: int, microbatches: int, v: int, group: int) -> None:
    try:
        schedule = build("interleaved", stages=stages, microbatches=microbatches, v=v, group=group)
    except InputError:
        rest = microbatches % group
        assert group < stages or 0 < rest < stages
        return
    check(schedule)
