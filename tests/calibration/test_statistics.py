"""Statistics against textbook values and simulated truth."""

import numpy as np
import pytest

from chimera.calibration.judging.statistics import (
    Interval,
    find_disturbed,
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
    samples = (generator.normal(0, 1, 12)[rounds] + generator.normal(0, 0.1, 60) + 50).tolist()
    alone, blocked = median_interval(samples), median_interval(samples, blocks=rounds.tolist())
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
