"""The fit recovers a line it was not told, and outliers do not move it."""

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
