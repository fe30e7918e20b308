"""Which engine answers, and that the compiled one refuses what 64 bits do not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import LinkCost
from chimera.simulator.engines.choice import Engine, engine_for

YEAR_NS = 365 * 24 * 3600 * 10**9


@pytest.mark.parametrize(
    ("stages", "microbatches", "engine"), [(8, 32, "simpy"), (64, 1024, "simpy"), (64, 2048, "auto")]
)
def test_the_reference_answers_unless_it_would_take_seconds(stages: int, microbatches: int, engine: Engine) -> None:
    """2 D N computations: 512, 131,072 and 262,144."""
    assert engine_for(build("dapple", stages=stages, microbatches=microbatches)) == engine


def test_a_million_computations_are_compiled_by_default() -> None:
    found = simulate(build("gpipe", stages=128, microbatches=1024), Profile.uniform())
    assert found.engine == "compiled"
    assert found.metrics.iteration_ns == (1024 + 127) * 3_000_000  # (N + D - 1)(F + B) of 1 and 2 ms


LONG = Profile.uniform(forward=YEAR_NS, backward=2 * YEAR_NS)


@pytest.mark.parametrize(
    "profile",
    [
        LONG,
        Profile.uniform(forward=2**64, backward=1),
        replace(Profile.uniform(), links={"local": LinkCost(latency_ns=2**62)}),
    ],
)
def test_times_beyond_64_bits_are_refused_and_left_to_the_reference(profile: Profile) -> None:
    schedule = build("dapple", stages=4, microbatches=64)
    with pytest.raises(InputError, match="64 bits"):
        simulate(schedule, profile, engine="compiled")
    automatic, plain = (simulate(schedule, profile, engine=engine) for engine in ("auto", "simpy"))
    assert automatic == plain and automatic.timeline == plain.timeline


def test_centuries_are_predicted() -> None:
    """(N + D - 1)(F + B) = 67 x 3 years, beyond 2^62 ns."""
    found = simulate(build("gpipe", stages=4, microbatches=64), LONG, engine="auto")
    assert found.metrics.iteration_ns == 67 * 3 * YEAR_NS


def test_a_very_large_schedule_of_long_computations_is_left_to_the_reference() -> None:
    schedule = build("gpipe", stages=16, microbatches=1024)
    found = simulate(schedule, Profile.uniform(forward=YEAR_NS // 100, backward=YEAR_NS // 50), engine="auto")
    assert found.engine == "simpy"
    assert found.metrics.iteration_ns == (1024 + 15) * (YEAR_NS // 100 + YEAR_NS // 50)
