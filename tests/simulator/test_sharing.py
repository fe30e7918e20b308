"""Shared cores and overlapped all-reduces, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import AllReduceCost
from tests.sizes import examples


def copies(counts: tuple[int, ...]) -> Schedule:
    """One stage, held by every device; device d processes counts[d] micro-batches."""
    replica_of = tuple(device for device, count in enumerate(counts) for _ in range(count))
    rows = tuple(
        tuple(Action(0, kind, m) for m, owner in enumerate(replica_of) if owner == device for kind in (Kind.F, Kind.B))
        for device in range(len(counts))
    )
    placement = tuple((device,) for device in range(len(counts)))
    return Schedule("custom", 1, len(counts), len(replica_of), placement, replica_of, rows)


@pytest.mark.parametrize(
    ("counts", "cores", "expected"),
    [
        ((1, 1), 2, 300),
        ((1, 1), 1, 600),  # each at half speed
        ((1, 1, 1), 2, 450),  # each at two thirds
        ((2, 1), 1, 900),  # 600 at half speed each, then 300 alone
        ((4, 1, 1), 2, 1350),  # three at 2/3 until 450, when the first has done 300 of 1200; 900 more alone
    ],
)
def test_processor_sharing(counts: tuple[int, ...], cores: int, expected: int) -> None:
    profile = replace(Profile.uniform(forward=100, backward=200), cores=cores)
    assert simulate(copies(counts), profile).timeline.end_ns == expected


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 500), st.integers(1, 500))
def test_one_core_does_all_the_work(counts: list[int], forward: int, backward: int) -> None:
    # Processor sharing conserves work; each of the 2n actions may end up to one ns late.
    profile = replace(Profile.uniform(forward=forward, backward=backward), cores=1)
    total = sum(counts) * (forward + backward)
    assert total <= simulate(copies(tuple(counts)), profile).timeline.end_ns <= total + 2 * sum(counts) * len(counts)


def test_enough_cores_change_nothing() -> None:
    schedule = build("chimera", stages=4, microbatches=8)
    profile = Profile.uniform(forward=100, backward=200, p2p=10)
    assert simulate(schedule, replace(profile, cores=4)).timeline.spans == simulate(schedule, profile).timeline.spans


def test_an_overlapped_all_reduce_slows_both() -> None:
    # Chimera D = N = 2, F = B = 100: stage 1 is reduced from 300 on (ring of two: 2 alpha = 50) beside
    # the last backward. Both at half speed: the all-reduce ends at 400, the backward has 50 left and
    # ends at 450; stage 0 is reduced from 450 to 500, alone.
    reduce = AllReduceCost(latency_ns=25, compute_slowdown=2.0, reduce_slowdown=2.0)
    profile = replace(Profile.uniform(forward=100, backward=100), all_reduce=reduce)
    schedule = build("chimera", stages=2, microbatches=2, sync="eager")
    timeline = simulate(schedule, profile).timeline
    assert {(s.start_ns, s.end_ns) for s in timeline.spans if s.stream == "sync"} == {(300, 400), (450, 500)}
    assert timeline.end_ns == 500
    with pytest.raises(InputError, match="slow each other down"):
        simulate(schedule, profile, engine="compiled")


def test_all_reduces_after_the_last_computation_slow_nothing() -> None:
    # The same with sync=end: 300 + 100 of pipeline, then both stages' rings of 50 at the same time.
    reduce = AllReduceCost(latency_ns=25, compute_slowdown=2.0, reduce_slowdown=2.0)
    profile = replace(Profile.uniform(forward=100, backward=100), all_reduce=reduce)
    schedule = build("chimera", stages=2, microbatches=2, sync="end")
    reference, compiled = (simulate(schedule, profile, engine=engine) for engine in ("simpy", "compiled"))
    assert reference.timeline.end_ns == compiled.timeline.end_ns
    unslowed = replace(profile, all_reduce=AllReduceCost(latency_ns=25))
    assert reference.timeline.end_ns == simulate(schedule, unslowed).timeline.end_ns


def test_copies_of_the_pipeline_share_the_host() -> None:
    profile = replace(Profile.uniform(forward=100, backward=200), cores=2)
    schedule = build("gpipe", stages=1, microbatches=1)
    assert [simulate(schedule, profile, width=width).timeline.end_ns for width in (1, 2, 4)] == [300, 300, 600]
