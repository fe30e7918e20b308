"""A slower device and a device's memory, by hand."""

from __future__ import annotations

import pytest

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import MemoryEvent
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.what_if import out_of_memory
from chimera.simulator.reasons.explain import explain_prediction

PROFILE = Profile.uniform(forward=1000, backward=2000)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_slow_last_device_paces_gpipe(engine: str) -> None:
    """Device 1 of two, twice as slow: F0, then 8 x (2000 + 4000) there, then the last B of device 0: 51000."""
    found = simulate(build("gpipe", stages=2, microbatches=8), PROFILE, engine=engine, slow_devices={1: 2.0})  # type: ignore[arg-type]
    assert found.timeline.end_ns == 1000 + 8 * 6000 + 2000
    assert "device 1 computes 2 times as long" in found.assumptions
    assert explain_prediction(found).iteration_ns == found.timeline.end_ns


@pytest.mark.parametrize("slow", [{2: 1.5}, {-1: 1.5}, {0: 0.5}, {0: float("nan")}])
def test_wrong_devices_are_refused(slow: dict[int, float]) -> None:
    with pytest.raises(InputError):
        simulate(build("gpipe", stages=2, microbatches=2), PROFILE, slow_devices=slow)


def test_out_of_memory_first_in_time() -> None:
    late = [MemoryEvent(0, 0, "weights", 60, "w"), MemoryEvent(0, 9, "activations", 50, "0F1")]
    early = [MemoryEvent(1, 0, "weights", 60, "w"), MemoryEvent(1, 7, "activations", 41, "1F0")]
    assert out_of_memory([late, early], 100) == (1, 7, "1F0", 101, 100)
    assert out_of_memory([late, early], 109) == (0, 9, "0F1", 110, 109)
    assert out_of_memory([late, early], 110) is None
