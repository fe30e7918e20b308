"""The Chimera paper's formula: its example, and against the simulator where its assumptions hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import AllReduceCost, LayerCost, LinkCost, OptimizerCost, Overheads, SizeCost
from chimera.simulator.predicting.conditions import Conditions
from chimera.simulator.reasons.closed_form import ClosedForm, Undefined, closed_form, critical_counts, differences
from tests.machines import stage_machine
from tests.sizes import examples


def test_figure_6() -> None:
    """D = 6, N = 6: C_f = 6, C_b = 10 (section 3.4 of the paper)."""
    assert critical_counts(build("chimera", stages=6, microbatches=6)) == (6, 10)


@settings(max_examples=examples(80), deadline=None)
@given(
    name=st.sampled_from(["chimera", "gpipe", "dapple"]),
    half=st.integers(1, 4),
    units=st.integers(1, 4),
    forward=st.integers(1, 1000),
    more=st.integers(0, 2000),
    recompute=st.booleans(),
)
def test_free_messages_give_the_simulated_time(
    name: str, half: int, units: int, forward: int, more: int, recompute: bool
) -> None:
    schedule = replace(build(name, stages=2 * half, microbatches=2 * half * units), recompute=recompute)
    profile = Profile.uniform(forward=forward, backward=forward + more)
    found = closed_form(schedule, profile)
    assert isinstance(found, ClosedForm)
    assert found.total_ns == simulate(schedule, profile).timeline.end_ns


@pytest.mark.parametrize(("stages", "pairs"), [(4, 2), (8, 2), (8, 4), (12, 3), (16, 4)])
def test_several_pairs(stages: int, pairs: int) -> None:
    schedule = build("chimera", stages=stages, microbatches=stages, pairs=pairs)
    profile = Profile.uniform(forward=10, backward=20)
    found = closed_form(schedule, profile)
    assert isinstance(found, ClosedForm)
    assert found.total_ns == simulate(schedule, profile).timeline.end_ns


def test_every_part_by_hand() -> None:
    """D = 4, N = 4, W = 2: F = 1000, B = 3 F = 3000 with recomputation, alpha 100 + 1000 bytes at 1 GB/s.

    p2p = 1100. Rabenseifner over r = 4: 2 log2(4) 500 + 2 (3/4) 4000 ns = 8000. A slot is
    B + p2p = 4100. Worker 0: one slot between, so 3900 + 8000; worker 1: 8000 + 8000 - 4100 = 11900.
    T = 2100 x 4 + 4100 x 6 + 11900 = 44900.
    """
    profile = stage_machine(
        1000,
        2000,
        size={"boundary_bytes": 1000},
        parameters=1000,
        links={"local": LinkCost(100, 1e9)},
        all_reduce=AllReduceCost(500, 1e9),
    )
    schedule = build("chimera", stages=4, microbatches=4, recompute=True)
    assert closed_form(schedule, profile, Conditions(width=2)) == (44_900, 4, 6, 1000, 3000, 1100, 11_900)


@pytest.mark.parametrize("latency", [0, 100, 700, 5000])
@pytest.mark.parametrize("name", ["gpipe", "dapple", "chimera"])
def test_all_reduces_at_the_end_as_simulated(name: str, latency: int) -> None:
    """Free messages and F = B, where the published free slots are exact; Rabenseifner over 2 or 4 ranks."""
    options = {"sync": "end"} if name == "chimera" else {}
    found, simulated = both(build(name, stages=8, microbatches=8, **options), latency)
    assert found == simulated


@pytest.mark.parametrize("latency", [0, 100, 700, 5000])
@pytest.mark.parametrize("sync", ["eager", "eager-opt"])
def test_early_all_reduces_hide_behind_computation_too(sync: str, latency: int) -> None:
    """Between a worker's two last backwards are D-1-2w slots, of which D/2-1-w are bubbles: at most D/2 more."""
    found, simulated = both(build("chimera", stages=8, microbatches=8, sync=sync), latency)
    assert simulated <= found <= simulated + 4 * 1000


def both(schedule: Schedule, latency: int) -> tuple[int, int]:
    """The formula's time and the simulator's."""
    reduce = AllReduceCost(latency, algorithm="rabenseifner")
    profile = replace(Profile.uniform(forward=1000, backward=1000), all_reduce=reduce)
    found = closed_form(schedule, profile, Conditions(width=2))
    assert isinstance(found, ClosedForm)
    return found.total_ns, simulate(schedule, profile, width=2).timeline.end_ns


@pytest.mark.parametrize(
    ("name", "stages", "microbatches", "options", "reason"),
    [
        ("gems", 4, 4, {}, "not gems"),
        ("chimera", 4, 6, {}, "no multiple"),
        ("chimera", 4, 8, {"concat": "doubling"}, "concatenated directly"),
        ("chimera", 8, 16, {"pairs": 2}, "2 pairs"),
    ],
)
def test_undefined(name: str, stages: int, microbatches: int, options: dict[str, str | int], reason: str) -> None:
    found = closed_form(build(name, stages=stages, microbatches=microbatches, **options), Profile.uniform())
    assert isinstance(found, Undefined) and reason in found.reason


def test_short_backwards_are_undefined() -> None:
    found = closed_form(build("gpipe", stages=2, microbatches=2), Profile.uniform(forward=2, backward=1))
    assert isinstance(found, Undefined)


def test_a_partition_is_counted_by_its_slowest_stage() -> None:
    """Layers of F = B = 10 cut 3 + 1, GPipe, D = N = 2: (N+D-1) forwards and backwards of 30 each."""
    layer = LayerCost("layer", (SizeCost(1, 10, 10),))
    found = closed_form(
        build("gpipe", stages=2, microbatches=2), Profile("four", (layer,) * 4), Conditions(partition=(3, 1))
    )
    assert isinstance(found, ClosedForm) and found.total_ns == 3 * (30 + 30)


def test_slow_devices_are_undefined() -> None:
    found = closed_form(build("gpipe", stages=2, microbatches=2), Profile.uniform(), Conditions(slow_devices={1: 2.0}))
    assert isinstance(found, Undefined) and "slow devices" in found.reason


LINKED = replace(Profile.uniform(), links={"local": LinkCost(1000)})


@pytest.mark.parametrize(
    ("profile", "conditions", "words"),
    [
        (Profile.uniform(), Conditions(), []),
        (Profile.uniform(p2p=5), Conditions(), ["behind every action"]),
        (LINKED, Conditions(), ["behind every action", "wait for the one before"]),
        (Profile.uniform(), Conditions(semantics="rendezvous"), ["rendezvous messages"]),
        (replace(Profile.uniform(), overheads=Overheads(dispatch_ns=5)), Conditions(), ["host time"]),
        (replace(Profile.uniform(), optimizer=OptimizerCost(constant_ns=5)), Conditions(), ["optimizer steps"]),
        (
            replace(Profile.uniform(), all_reduce=AllReduceCost(5, algorithm="tree")),
            Conditions(),
            ["beside computation", "the profile, tree"],
        ),
        (replace(Profile.uniform(), cores=1), Conditions(), ["share cores"]),
    ],
)
def test_only_what_it_leaves_out_here_is_named(profile: Profile, conditions: Conditions, words: list[str]) -> None:
    found = differences(build("chimera", stages=4, microbatches=4), profile, conditions)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))
