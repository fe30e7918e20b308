"""Statistics against textbook values and simulated truth."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.calibration.judging.statistics import (
    Interval,
    find_disturbed,
    find_disturbed_rounds,
    median_interval,
    relative_spread,
    win_probability,
)
from chimera.pipeline.errors import InputError


def test_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    hits = 0
    for trial in range(100):
        interval = median_interval(generator.normal(10, 1, 30).tolist(), seed=trial)
        hits += interval.low <= 10 <= interval.high
    assert 88 <= hits <= 100  # 95 % nominal; binomial(100, 0.95) is above 88 with p > 0.998


def test_blocks_widen_the_interval_of_correlated_samples() -> None:
    generator = np.random.default_rng(3)
    rounds = np.repeat(np.arange(12), 5)
    samples = generator.normal(0, 1, 12)[rounds] + generator.normal(0, 0.1, 60) + 50
    alone = median_interval(samples.tolist())
    blocked = median_interval(samples.tolist(), blocks=rounds.tolist())
    assert blocked.standard_error > 1.5 * alone.standard_error


def test_the_same_seed_gives_the_same_interval() -> None:
    samples = [1.0, 2.0, 3.5, 2.5, 2.2]
    assert median_interval(samples, seed=4) == median_interval(samples, seed=4)


def test_no_samples_is_an_input_error() -> None:
    with pytest.raises(InputError):
        median_interval([])


def test_relative_spread_estimates_a_normal_deviation() -> None:
    samples = np.random.default_rng(1).normal(100, 5, 20_000)
    assert relative_spread(samples.tolist()) == pytest.approx(0.05, rel=0.03)


def test_disturbed_iterations_are_the_stolen_and_the_outlying() -> None:
    assert find_disturbed([1.0, 1.1, 1.0, 1.7, 1.0], [0, 0, 0.05, 0, 0]) == [False, False, True, True, False]


def test_win_probability_is_the_normal_one() -> None:
    ours, theirs = Interval(9, 0, 0, 3), Interval(14, 0, 0, 4)  # difference 5, error 5: one sigma
    assert win_probability(ours, theirs) == pytest.approx(0.8413, abs=1e-4)
    assert win_probability(ours, ours) == 0.5


# What a change of units must do, whatever the samples are

_samples = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8)


@settings(max_examples=8)
@given(_samples, st.sampled_from([0.5, 2.0, 1000.0]))
def test_intervals_scale_with_their_samples(samples: list[float], factor: float) -> None:
    plain, scaled = median_interval(samples), median_interval([factor * value for value in samples])
    assert scaled == pytest.approx([factor * value for value in plain], abs=1e-9)


@settings(max_examples=8)
@given(_samples)
def test_an_interval_holds_its_median_and_lies_within_the_samples(samples: list[float]) -> None:
    interval = median_interval(samples)
    assert min(samples) <= interval.low <= interval.median <= interval.high <= max(samples)
    assert interval.median == pytest.approx(statistics.median(samples)) and interval.standard_error >= 0


@settings(max_examples=8)
@given(_samples)
def test_every_sample_a_block_of_its_own_is_no_blocks(samples: list[float]) -> None:
    assert median_interval(samples, blocks=list(range(len(samples)))) == median_interval(samples)


def test_one_block_leaves_nothing_to_resample() -> None:
    assert median_interval([1.0, 5.0, 3.0], blocks=[4, 4, 4]) == Interval(3.0, 3.0, 3.0, 0.0)


def test_the_standard_error_of_a_normal_median_is_the_textbook_one() -> None:
    # sqrt(pi / 2) / sqrt(n) for large n (Kenney and Keeping 1951): 0.0886 for 200 samples; mean over 20 sets of them
    generator = np.random.default_rng(9)
    errors = [median_interval(generator.normal(0, 1, 200).tolist(), seed=seed).standard_error for seed in range(20)]
    assert np.mean(errors) == pytest.approx(math.sqrt(math.pi / 2 / 200), rel=0.1)


@given(_samples, st.sampled_from([0.25, 4.0]))
def test_a_relative_spread_has_no_unit_and_is_never_negative(samples: list[float], factor: float) -> None:
    spread = relative_spread(samples)
    assert spread >= 0 and relative_spread([factor * value for value in samples]) == pytest.approx(spread)


def test_a_relative_spread_ignores_a_minority_however_far_off() -> None:
    samples = np.random.default_rng(1).normal(100, 5, 1000)
    wild = np.where(np.arange(1000) % 10 == 0, 1e9, samples)
    # One in ten beyond everything moves the quartiles of distances from 50 % to 55.6 % of the others: 1.12 times
    assert relative_spread(wild.tolist()) == pytest.approx(relative_spread(samples.tolist()), rel=0.2)


def test_no_samples_and_samples_of_nothing_have_no_spread() -> None:
    assert relative_spread([]) == relative_spread([0.0, 0.0]) == relative_spread([7.0]) == 0


@given(st.floats(1, 10), st.floats(1, 10), st.floats(0.01, 3), st.floats(0.01, 3))
def test_one_wins_what_the_other_loses(a: float, b: float, error_a: float, error_b: float) -> None:
    ours, theirs = Interval(a, 0, 0, error_a), Interval(b, 0, 0, error_b)
    assert win_probability(ours, theirs) + win_probability(theirs, ours) == pytest.approx(1)
    assert (win_probability(ours, theirs) > 0.5) == (win_probability(theirs, ours) < 0.5)


def test_without_errors_the_smaller_one_wins_for_sure() -> None:
    one, two = Interval(1, 1, 1, 0), Interval(2, 2, 2, 0)
    assert (win_probability(one, two), win_probability(two, one), win_probability(one, one)) == (1.0, 0.0, 0.5)


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=20), st.sampled_from([0.5, 1000.0]))
def test_what_is_disturbed_does_not_depend_on_the_unit_of_time(durations: list[float], factor: float) -> None:
    quiet = [0.0] * len(durations)
    assert find_disturbed([factor * each for each in durations], quiet) == find_disturbed(durations, quiet)


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=20))
def test_half_of_all_iterations_always_count(durations: list[float]) -> None:
    assert sum(find_disturbed(durations, [0.0] * len(durations))) <= len(durations) / 2  # none below 1.5 medians goes


def test_a_round_goes_that_is_a_tenth_above_the_lower_quartile() -> None:
    # The lower quartile of 1, 1, 1, 1, 1.09, 1.11 is 1: interpolated at the 1.25th of the places 0 to 5
    rounds = {0: 1.0, 3: 1.09, 4: 1.0, 7: 1.11, 8: 1.0, 9: 1.0}
    assert find_disturbed_rounds(rounds) == {7} and find_disturbed_rounds({}) == set()
    assert find_disturbed_rounds({number: 60 * time for number, time in rounds.items()}) == {7}
