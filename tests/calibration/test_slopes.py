"""The fit recovers a line it was not told, and outliers do not move it."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.calibration.fitting.slopes import fit_line, slope_interval
from chimera.pipeline.errors import InputError

sizes = [4096, 65536, 1 << 20, 8 << 20]


@given(st.floats(0, 1e6), st.floats(0, 5))
def test_an_exact_line_is_recovered(alpha: float, beta: float) -> None:
    line = fit_line({size: [alpha + beta * size] for size in sizes})
    for size in sizes:
        assert line.at(size) == pytest.approx(alpha + beta * size, rel=1e-6, abs=1e-3)


def test_one_wild_outlier_per_size_changes_nothing() -> None:
    line = fit_line({size: [1000 + 0.5 * size] * 5 + [1e9] for size in sizes})
    assert line.alpha_ns == pytest.approx(1000) and line.beta_ns_per_byte == pytest.approx(0.5)
    assert line.bandwidth_bytes_per_s == 2_000_000_000


def test_a_falling_cost_is_latency_only() -> None:
    line = fit_line({10: [100.0], 1000: [90.0]})
    assert line.beta_ns_per_byte == 0 and line.bandwidth_bytes_per_s is None


def test_nothing_to_fit_is_an_error() -> None:
    with pytest.raises(InputError):
        fit_line({})


def test_a_slope_that_noise_hides_has_an_interval_from_zero() -> None:
    generator = np.random.default_rng(2)
    noisy = {size: (100_000 + generator.normal(0, 20_000, 12)).tolist() for size in (4096, 65536, 262144)}
    low, high = slope_interval(noisy)
    assert low == 0 < high


def test_the_interval_of_a_slope_holds_the_truth_about_as_often_as_it_says() -> None:
    generator, hits = np.random.default_rng(5), 0
    for trial in range(60):
        noisy = {size: (1000 + 0.5 * size + generator.normal(0, 5000, 12)).tolist() for size in (4096, 65536, 262144)}
        low, high = slope_interval(noisy, seed=trial)
        hits += low <= 0.5 <= high
    assert hits >= 46  # 90 % nominal: binomial(60, 0.9) is below 46 with p < 0.001


# What a change of units must do to a fit, whatever the measurements are

_points = st.dictionaries(
    st.integers(1, 1 << 24), st.lists(st.floats(1, 1e9), min_size=1, max_size=7), min_size=1, max_size=6
)


@given(_points, st.sampled_from([0.5, 2.0, 1024.0]))
def test_a_slower_clock_scales_the_whole_line(samples: dict[int, list[float]], factor: float) -> None:
    line = fit_line(samples)
    scaled = fit_line({size: [factor * time for time in times] for size, times in samples.items()})
    assert scaled == pytest.approx((factor * line.alpha_ns, factor * line.beta_ns_per_byte), rel=1e-9, abs=1e-9)


@given(_points, st.sampled_from([2, 8, 1024]))
def test_larger_units_of_size_divide_the_slope_alone(samples: dict[int, list[float]], factor: int) -> None:
    line = fit_line(samples)
    scaled = fit_line({factor * size: times for size, times in samples.items()})
    assert scaled == pytest.approx((line.alpha_ns, line.beta_ns_per_byte / factor), rel=1e-9, abs=1e-9)


@given(_points, st.floats(0, 1e9))
def test_what_every_message_pays_is_latency(samples: dict[int, list[float]], more: float) -> None:
    line = fit_line(samples)
    later = fit_line({size: [time + more for time in times] for size, times in samples.items()})
    assert later.beta_ns_per_byte == pytest.approx(line.beta_ns_per_byte, rel=1e-6, abs=1e-6)
    if line.alpha_ns > 0:  # where it was clipped, the line through the origin was above it
        assert later.alpha_ns == pytest.approx(line.alpha_ns + more, rel=1e-6, abs=16)


@given(_points, st.randoms(use_true_random=False))
def test_the_order_of_measurements_does_not_matter(samples: dict[int, list[float]], random: Random) -> None:
    sizes, shuffled = list(samples), {}
    random.shuffle(sizes)
    for size in sizes:
        shuffled[size] = random.sample(samples[size], len(samples[size]))
    assert fit_line(shuffled) == fit_line(samples)


@given(_points)
def test_costs_are_never_negative_and_never_fall_with_size(samples: dict[int, list[float]]) -> None:
    line = fit_line(samples)
    costs = [line.at(size) for size in (0, *sorted(samples), 1 << 30)]
    assert costs[0] >= 0 and costs == sorted(costs)


@given(_points)
def test_sizes_without_a_sample_are_as_good_as_not_asked_for(samples: dict[int, list[float]]) -> None:
    missing: dict[int, list[float]] = {(1 << 25) + 1: [], 1 << 26: []}
    assert fit_line(samples | missing) == fit_line(samples)


def test_one_size_alone_is_latency() -> None:
    line = fit_line({4096: [70.0, 90.0, 80.0]})
    assert line == (80.0, 0.0) and line.bandwidth_bytes_per_s is None and slope_interval({4096: [70.0, 90.0]}) == (0, 0)


def test_a_whole_size_gone_wrong_does_not_move_the_line() -> None:
    # Theil-Sen breaks down at 29 % of the points (Sen 1968): of seven, one may be anything
    exact = {1000 * n: [500.0 + 2 * 1000 * n] for n in range(1, 8)}
    for wrong in exact:
        for time in (0.0, 1e9):
            line = fit_line(exact | {wrong: [time]})
            assert line.beta_ns_per_byte == pytest.approx(2, rel=0.1), (wrong, time)


def test_noise_of_ten_percent_leaves_a_line_within_its_standard_error() -> None:
    generator, errors = np.random.default_rng(8), []
    for _ in range(40):
        noisy = {size: ((2000 + 0.5 * size) * generator.lognormal(0, 0.1, 25)).tolist() for size in sizes}
        errors.append(fit_line(noisy).at(1 << 20) / (2000 + 0.5 * (1 << 20)) - 1)
    # A median of 25 has a standard error of 1.2533 x 10 % / 5 = 2.5 %; the mean of 40 such errors one of 0.4 %
    assert abs(float(np.mean(errors))) < 3 * 0.004 and float(np.std(errors)) < 2 * 0.025


@given(st.floats(1, 1e5), st.floats(1e-3, 5))
def test_the_interval_of_an_exact_slope_is_a_point(alpha: float, beta: float) -> None:
    low, high = slope_interval({size: [alpha + beta * size] * 3 for size in sizes})
    assert low == pytest.approx(beta, rel=1e-6) and high == pytest.approx(beta, rel=1e-6)


def test_more_noise_makes_a_wider_interval_and_the_same_seed_the_same_one() -> None:
    generator = np.random.default_rng(4)
    unit = {size: generator.normal(0, 1, 12) for size in sizes[:3]}
    widths = []
    for noise in (100.0, 1000.0, 10_000.0):
        samples = {size: (50_000 + 0.5 * size + noise * row).tolist() for size, row in unit.items()}
        low, high = slope_interval(samples, seed=3)
        assert slope_interval(samples, seed=3) == (low, high)
        widths.append(high - low)
    assert widths == sorted(widths) and widths[0] < widths[-1] / 10
