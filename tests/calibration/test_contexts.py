"""Factors of contexts from observations that the test makes up, so that every factor and every time is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.calibration.fitting.contexts import fit_contexts
from chimera.calibration.fitting.observations import Observation, Observations
from chimera.pipeline.actions import Kind
from chimera.pipeline.rules import Context
from chimera.simulator.costs.profile import Locality

WARM = 3  # a computation behind three others of its stage and kind is a warm one


def seen(
    stage: int,
    kind: Kind,
    duration_ns: float,
    context: Context = "fresh",
    *,
    split: bool = False,
    turn: int = WARM,
    **more: Any,
) -> Observation:
    """One computation; warm, unless its turn is given."""
    return Observation(stage, kind, context, split, round(duration_ns), "ready", 0, turn=turn, **more)


def observed(actions: Iterable[Observation]) -> Observations:
    return Observations(actions=list(actions))


def repeat(
    times: Sequence[float], stage: int, kind: Kind, context: Context = "fresh", **more: Any
) -> list[Observation]:
    return [seen(stage, kind, time, context, **more) for time in times]


def test_a_factor_is_the_median_over_stages_of_ratios_of_medians() -> None:
    # Ratios of medians: 90 / 100, 160 / 200 and 285 / 300; the second of them in the middle is 0.9
    rows = [((90, 91, 20), (100, 100, 999)), ((160,), (200,)), ((285,), (300,))]
    actions = []
    for stage, (behind, fresh) in enumerate(rows):
        actions += repeat(behind, stage, Kind.F, "after-backward") + repeat(fresh, stage, Kind.F)
    assert fit_contexts(observed(actions))[0].forward_after_backward == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("kind", "context", "field"),
    [
        (Kind.F, "after-backward", "forward_after_backward"),
        (Kind.B, "own-forward", "backward_after_own_forward"),
        (Kind.W, "after-another", "weight_after_another"),
    ],
)
def test_every_context_has_its_factor_and_touches_no_other(kind: Kind, context: Context, field: str) -> None:
    actions = repeat([100] * 3, 0, kind) + repeat([80] * 3, 0, kind, context)
    locality, times = fit_contexts(observed(actions))
    assert locality == replace(Locality(), **{field: 0.8})  # type: ignore[arg-type]
    assert times == {(0, kind): pytest.approx(100)}


def test_what_was_seen_in_a_context_alone_cannot_be_told_from_a_slower_stage() -> None:
    actions = repeat([80] * 3, 0, Kind.F, "after-backward") + repeat([50], 1, Kind.F)
    locality, times = fit_contexts(observed(actions))
    assert locality == Locality() and times == {(0, Kind.F): 80, (1, Kind.F): 50}


def test_a_stage_never_seen_fresh_is_told_by_the_factor_of_others() -> None:
    actions = repeat([100] * 3, 0, Kind.F) + repeat([80] * 3, 0, Kind.F, "after-backward")
    actions += repeat([40] * 3, 1, Kind.F, "after-backward")
    _, times = fit_contexts(observed(actions))
    assert times == {(0, Kind.F): pytest.approx(100), (1, Kind.F): pytest.approx(50)}  # 40 / 0.8


def test_forwards_that_prepare_a_split_backward_have_a_factor_of_their_own() -> None:
    actions = repeat([100] * 3, 0, Kind.F) + repeat([110] * 3, 0, Kind.F, split=True)
    actions += repeat([99] * 3, 0, Kind.F, "after-backward", split=True)
    locality, times = fit_contexts(observed(actions))
    assert locality.forward_for_split == pytest.approx(1.1)
    assert locality.forward_after_backward == pytest.approx(0.9)  # 99 / 110: both factors at once
    assert times == {(0, Kind.F): pytest.approx(100)}


def test_cold_factors_are_taken_out_before_anything_else() -> None:
    # Turn 0 takes 1.5 times, turn 1 1.2 times, turn 2 as long as a warm one; only warm ones were seen in a context.
    cold = [seen(0, Kind.F, 100 * factor, turn=turn) for turn, factor in enumerate((1.5, 1.2, 1.0, 1.0, 1.0))]
    locality, times = fit_contexts(observed(cold + repeat([80] * 4, 0, Kind.F, "after-backward")))
    assert locality.cold_forwards == pytest.approx((1.5, 1.2, 1.0))
    assert locality.cold_backwards == ()
    assert locality.forward_after_backward == pytest.approx(0.8) and times[0, Kind.F] == pytest.approx(100)


def test_cold_pairs_are_of_one_device_and_run() -> None:
    # Device 1 is twice as slow and was seen cold alone: against device 0 it would look like a factor of two.
    actions = [seen(0, Kind.B, 100, turn=turn) for turn in range(5)]
    actions += [seen(0, Kind.B, 200, turn=0, device=1)]
    assert fit_contexts(observed(actions))[0].cold_backwards == ()


def test_both_kinds_of_backward_share_their_cold_factors() -> None:
    actions = [seen(0, kind, time, turn=turn) for kind in (Kind.B, Kind.I) for turn, time in ((0, 130), (3, 100))]
    actions += [seen(0, Kind.W, time, turn=turn) for turn, time in ((0, 500), (3, 100))]
    assert fit_contexts(observed(actions))[0].cold_backwards == pytest.approx((1.3, 1.0, 1.0))


def test_recomputation_tells_its_factors_and_nothing_else() -> None:
    # A backward that repeats its forward takes 1.1 x (100 + 200) = 330, a forward that keeps nothing 95.
    plain = repeat([100] * 3, 0, Kind.F) + repeat([200] * 3, 0, Kind.B)
    again = repeat([95] * 3, 0, Kind.F, recompute=True) + repeat([330] * 3, 0, Kind.B, recompute=True)
    locality, times = fit_contexts(observed(plain + again))
    assert locality.forward_for_recomputation == pytest.approx(0.95)
    assert locality.backward_with_recomputation == pytest.approx(1.1)
    assert times == fit_contexts(observed(plain))[1] == {(0, Kind.F): 100, (0, Kind.B): 200}


def test_nothing_observed_is_a_neutral_locality_and_no_time() -> None:
    assert fit_contexts(Observations()) == (Locality(), {})


TRUTH = Locality(forward_after_backward=0.85, backward_after_own_forward=0.92, weight_after_another=1.1)
STAGES = {0: 100_000, 1: 250_000, 2: 40_000}
"""unequal stages: forward in nanoseconds; a backward takes twice, a weight gradient 0.9 times as long"""


def machine(generator: np.random.Generator, noise: float, outliers: float, count: int = 40) -> list[Observation]:
    """Observations of every context on three unequal stages, with log-normal noise, some ten times too long."""
    contexts: list[tuple[Kind, float, Context, float]] = [
        (Kind.F, 1.0, "fresh", 1.0),
        (Kind.F, 1.0, "after-backward", TRUTH.forward_after_backward),
        (Kind.B, 2.0, "fresh", 1.0),
        (Kind.B, 2.0, "own-forward", TRUTH.backward_after_own_forward),
        (Kind.W, 0.9, "fresh", 1.0),
        (Kind.W, 0.9, "after-another", TRUTH.weight_after_another),
    ]
    actions = []
    for stage, forward_ns in STAGES.items():
        for kind, times, context, factor in contexts:
            row = forward_ns * times * factor * generator.lognormal(0, noise, count)
            row[generator.random(count) < outliers] *= 10
            actions += repeat(row.tolist(), stage, kind, context)
    return actions


@pytest.mark.parametrize(("noise", "outliers", "within"), [(0.0, 0.0, 1e-9), (0.05, 0.0, 0.04), (0.05, 0.1, 0.05)])
def test_unequal_stages_are_recovered_from_noise_and_outliers(noise: float, outliers: float, within: float) -> None:
    # A median of 40 with 5 % noise has a standard error of 1.2533 x 5 % / sqrt(40) = 1 %; a ratio 1.4 %. One in ten
    # ten times too long moves a median to its 0.56 quantile, by 0.14 standard deviations: 0.7 %, in both of a ratio.
    locality, times = fit_contexts(observed(machine(np.random.default_rng(6), noise, outliers)))
    assert astuple(locality)[:3] == pytest.approx(astuple(TRUTH)[:3], rel=within)
    for stage, forward_ns in STAGES.items():
        expected = (forward_ns, 2 * forward_ns, 0.9 * forward_ns)
        assert [times[stage, kind] for kind in (Kind.F, Kind.B, Kind.W)] == pytest.approx(expected, rel=within)


@given(st.sampled_from([2, 3, 64]), st.integers(0, 20))
def test_a_slower_machine_has_the_same_factors_and_longer_times(factor: int, seed: int) -> None:
    actions = machine(np.random.default_rng(seed), 0.1, 0.05, count=7)
    slower = [one._replace(duration_ns=round(one.duration_ns * factor)) for one in actions]
    (before, times), (after, longer) = fit_contexts(observed(actions)), fit_contexts(observed(slower))
    assert astuple(after)[:3] == pytest.approx(astuple(before)[:3])
    assert longer == pytest.approx({key: factor * time for key, time in times.items()})


@given(st.randoms(use_true_random=False), st.integers(0, 20))
def test_the_order_of_observations_does_not_matter(random: Random, seed: int) -> None:
    actions = machine(np.random.default_rng(seed), 0.1, 0.05, count=5)
    assert fit_contexts(observed(random.sample(actions, len(actions)))) == fit_contexts(observed(actions))


def test_one_stage_made_slower_is_that_stage_alone() -> None:
    actions = machine(np.random.default_rng(1), 0.05, 0.0)
    slower = [one._replace(duration_ns=one.duration_ns * (3 if one.stage == 1 else 1)) for one in actions]
    (before, times), (after, longer) = fit_contexts(observed(actions)), fit_contexts(observed(slower))
    assert astuple(after)[:3] == pytest.approx(astuple(before)[:3])
    assert longer == pytest.approx({key: time * (3 if key[0] == 1 else 1) for key, time in times.items()})
