"""Every generator at every admissible size up to 16 devices and 64 micro-batches: sound, and nobody waits for ever."""

from __future__ import annotations

import pytest

from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.soundness.check import check
from chimera.pipeline.soundness.deadlock import check_plan
from tests.grids import DEVICES, NAMES, admitted, some_counts
from tests.sizes import ALL

pytestmark = pytest.mark.timeout(1200 if ALL else 300)


@pytest.mark.parametrize("name", NAMES)
def test_every_size_is_sound(name: str) -> None:
    found = 0
    for devices in range(1, DEVICES + 1):
        for schedule in admitted(name, devices, some_counts(devices, name, most=4)):
            check(schedule)
            found += 1
    assert found >= 30


@pytest.mark.parametrize("name", NAMES)
def test_no_plan_waits_for_ever(name: str) -> None:
    """Buffered as it is lowered; rendezvous and batched once receives are placed for it."""
    for devices in range(1, DEVICES + 1, 3):
        for schedule in admitted(name, devices, some_counts(devices, name)[:: 8 if ALL else 2]):
            plan = lower(schedule)
            check_plan(plan, "buffered")
            safe = rendezvous_safe(plan)
            for semantics in ("rendezvous", "batched"):
                check_plan(safe, semantics)
