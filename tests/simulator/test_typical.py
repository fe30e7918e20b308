"""The typical drawn iteration is the median of the draws, and the same every time."""

import pytest

from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import Jitter


def test_the_typical_timeline_lasts_as_long_as_the_median_draw() -> None:
    from dataclasses import replace

    machine = replace(Profile.uniform(), jitter=Jitter(action_quantiles=(-0.1, 0.0, 0.4)))
    schedule = build("chimera", stages=4, microbatches=8)
    for engine in ("simpy", "compiled"):
        prediction = simulate(schedule, machine, samples=51, seed=3, engine=engine)
        assert prediction.typical is not None and prediction.interval_s is not None
        assert prediction.typical.end_ns / 1e9 == pytest.approx(prediction.interval_s[1], abs=2e-9)
        assert prediction.typical.end_ns > prediction.timeline.end_ns  # jitter never shortens a wait for long


def test_without_samples_there_is_no_typical_timeline() -> None:
    assert simulate(build("gpipe", stages=2, microbatches=2), Profile.uniform()).typical is None
