"""Variation of observations that the test makes up: what is known to vary, and what must not change the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from math import exp
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.calibration.fitting.observations import Observation, Observations
from chimera.calibration.fitting.variation import fit_jitter
from chimera.pipeline.actions import Kind
from chimera.simulator.costs.profile import Jitter

MS = 10**6
Time = Callable[[int, int, int], float]


def machine(time: Time, *, iterations: int = 60, devices: int = 2, actions: int = 6, run: int = 0) -> Observations:
    """Forwards of one stage a device; `time(iteration, device, micro-batch)` in nanoseconds."""
    seen = [
        Observation(
            stage=device,
            kind=Kind.F,
            context="fresh",
            split=False,
            duration_ns=round(time(iteration, device, number)),
            start="ready",
            delay_ns=0,
            microbatch=number,
            device=device,
            iteration=iteration,
            run=run,
            turn=min(number, 3),
        )
        for iteration in range(iterations)
        for device in range(devices)
        for number in range(actions)
    ]
    return Observations(seen)


def noisy(
    seed: int, own: float, iteration: float = 0.0, device: float = 0.0, centre_ns: float = 5 * MS
) -> Observations:
    """Normal effects of the action, its iteration and its device in that iteration, as relative deviations."""
    generator = np.random.default_rng(seed)
    common, local = generator.normal(0, iteration, 60), generator.normal(0, device, (60, 2))
    single = generator.normal(0, own, (60, 2, 6))
    return machine(lambda i, d, n: centre_ns * (1 + common[i] + local[i, d] + single[i, d, n]))


def numbers(jitter: Jitter) -> list[float]:
    """All of a jitter's numbers in a row."""
    return [value for field in astuple(jitter) for value in (field if isinstance(field, tuple) else (field,))]


def test_a_machine_of_unequal_devices_that_never_varies_has_no_jitter() -> None:
    jitter = fit_jitter(machine(lambda _, device, number: (1 + device) * 5 * MS))
    assert jitter == Jitter(action_quantiles=(0.0,) * 33)


def test_fewer_observations_than_quantiles_say_nothing() -> None:
    assert fit_jitter(machine(lambda i, d, n: 5 * MS + i, iterations=2, actions=8)) == Jitter()  # 32
    assert fit_jitter(machine(lambda i, d, n: 5 * MS + i, iterations=3, actions=8)) != Jitter()  # 48


@pytest.mark.parametrize(("own", "iteration", "device"), [(0.02, 0.0, 0.0), (0.02, 0.03, 0.0), (0.02, 0.0, 0.03)])
def test_normal_effects_are_recovered(own: float, iteration: float, device: float) -> None:
    jitters = [fit_jitter(noisy(seed, own, iteration, device)) for seed in range(10)]
    # Over 10 x 60 iterations a standard deviation has a relative standard error of 1 / sqrt(2 x 600) = 3 %; what is
    # common to a device is known to 2 % / sqrt(6), and the variance of that is taken out
    assert float(np.mean([one.iteration_spread for one in jitters])) == pytest.approx(iteration, rel=0.1, abs=0.004)
    assert float(np.mean([one.device_spread for one in jitters])) == pytest.approx(device, rel=0.1, abs=0.004)
    own_seen = np.mean([np.std(one.action_quantiles) for one in jitters])
    assert own_seen == pytest.approx(own, rel=0.15)  # the outermost 0.5 % at each end are cut off


@settings(max_examples=15)
@given(st.integers(0, 30))
def test_quantiles_rise_and_their_middle_is_the_usual(seed: int) -> None:
    quantiles = fit_jitter(noisy(seed, 0.03, 0.02, 0.01)).action_quantiles
    assert list(quantiles) == sorted(quantiles) and len(quantiles) == 33
    assert abs(quantiles[16]) < 0.01  # 720 actions: a median's standard error is 1.25 x 3 % / sqrt(720) = 0.14 %


@settings(max_examples=15)
@given(st.integers(0, 30), st.sampled_from([2, 4, 16]))
def test_a_slower_machine_varies_as_much(seed: int, factor: int) -> None:
    # Spreads are relative, and stalls are as much longer as they are rarer. All are well above the half
    # millisecond of a stall, which is the one absolute number of the fit: five deviations of 1 % of 20 ms are 1 ms
    observations = noisy(seed, 0.01, 0.01, centre_ns=20 * MS)
    slower = Observations([one._replace(duration_ns=factor * one.duration_ns) for one in observations.actions])
    quick, slow = fit_jitter(observations), fit_jitter(slower)
    assert slow.stall_ns == pytest.approx(factor * quick.stall_ns, abs=factor)  # whole nanoseconds
    assert slow.stalls_per_s * factor == pytest.approx(quick.stalls_per_s)
    others = [numbers(replace(one, stalls_per_s=0.0, stall_ns=0)) for one in (slow, quick)]
    assert others[0] == pytest.approx(others[1], rel=1e-6, abs=1e-9)


@settings(max_examples=15)
@given(st.integers(0, 30), st.randoms(use_true_random=False))
def test_the_order_of_observations_does_not_matter(seed: int, random: Random) -> None:
    whole = noisy(seed, 0.02, 0.01)
    mixed = Observations(random.sample(whole.actions, len(whole.actions)))
    assert numbers(fit_jitter(mixed)) == pytest.approx(numbers(fit_jitter(whole)), rel=1e-9, abs=1e-12)


def test_what_is_the_same_in_every_iteration_of_a_run_is_no_variation() -> None:
    # The second run is half as fast again, in all of its iterations: that is its own, not the iterations'
    first, second = noisy(1, 0.01), noisy(2, 0.01, centre_ns=7.5 * MS)
    both = Observations(first.actions + [one._replace(run=1, iteration=60 + one.iteration) for one in second.actions])
    assert fit_jitter(both).iteration_spread < 0.004


def test_one_slow_device_in_one_iteration_is_a_straggler() -> None:
    jitter = fit_jitter(machine(lambda i, d, n: 5 * MS * (1.4 if (i, d) == (7, 1) else 1)))
    assert jitter.straggler_probability == pytest.approx(1 / 120)  # of 60 x 2 devices in an iteration
    assert jitter.straggler_factor == pytest.approx(1.4)
    assert jitter.stalls_per_s == 0 and jitter.iteration_spread == 0 and jitter.device_spread == 0


def test_less_than_a_tenth_slower_is_no_straggler() -> None:
    assert fit_jitter(machine(lambda i, d, n: 5 * MS * (1.09 if (i, d) == (7, 1) else 1))).straggler_probability == 0


def test_single_long_actions_are_stalls_of_their_length() -> None:
    jitter = fit_jitter(machine(lambda i, d, n: 5 * MS + (4 * MS if (d, n) == (0, 3) and i % 20 == 0 else 0)))
    # Three of them, 4 ms each, in 720 actions of 5 ms and 12 ms more
    assert jitter.stall_ns == pytest.approx(4 * MS) and jitter.stalls_per_s == pytest.approx(3 / (0.720 * 5 + 0.012))
    assert jitter.straggler_probability == 0 and max(map(abs, jitter.action_quantiles)) == 0


def test_less_than_half_a_millisecond_is_variation_like_any_other() -> None:
    assert (
        fit_jitter(machine(lambda i, d, n: 5 * MS + (MS // 2 - 1 if n == 3 and i % 20 == 0 else 0))).stalls_per_s == 0
    )


def test_a_late_start_belongs_to_its_action_unless_it_waited_for_a_message() -> None:
    steady = machine(lambda i, d, n: 5 * MS).actions
    late = [one._replace(delay_ns=2 * MS) if one.iteration % 20 == 0 and one.microbatch == 3 else one for one in steady]
    assert fit_jitter(Observations(late)).stalls_per_s > 0
    always = [one._replace(delay_ns=2 * MS) if one.microbatch == 3 else one for one in steady]
    assert fit_jitter(Observations(always)).stalls_per_s == 0  # usual for this action


@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_messages_have_the_log_normal_spread_of_their_delays(spread: float) -> None:
    delays = MS * np.random.default_rng(3).lognormal(0, spread, 720)
    steady = machine(lambda i, d, n: 50 * MS).actions
    waiting = [one._replace(start="waited", delay_ns=round(ns)) for one, ns in zip(steady, delays, strict=True)]
    # Half the distance of two quantiles one deviation from the middle: a standard error of about 1 / sqrt(720) = 4 %
    assert fit_jitter(Observations(waiting)).message_spread == pytest.approx(spread, rel=0.12)


def test_all_reduces_one_after_another_vary_less_than_each() -> None:
    # Sums of four independent ones vary by half: the spread is that of one
    generator = np.random.default_rng(9)
    observations = machine(lambda i, d, n: 5 * MS)
    for stages, count in (((0,), 1), ((0, 1, 2, 3), 4)):
        sums = 4 * MS * np.exp(generator.normal(0, 0.2 / count**0.5, 600))
        observations.reduce_times[stages] = [round(time) for time in sums]
    assert fit_jitter(observations).all_reduce_spread == pytest.approx(0.2, rel=0.1)


def test_optimizer_steps_vary_by_what_iterations_do_not_explain() -> None:
    generator = np.random.default_rng(4)
    for iteration, expected in ((0.0, 0.1), (0.05, (0.1**2 - 0.05**2) ** 0.5)):
        observations = noisy(5, 0.005, iteration)
        observations.steps[0] = [round(3 * MS * exp(value)) for value in generator.normal(0, 0.1, 2000)]
        assert fit_jitter(observations).optimizer_spread == pytest.approx(expected, rel=0.1)


@settings(max_examples=15)
@given(st.integers(0, 30))
def test_more_variation_is_never_told_as_less(seed: int) -> None:
    # The same draws, twice as far from the middle
    narrow, wide = (fit_jitter(noisy(seed, own, iteration)) for own, iteration in ((0.01, 0.02), (0.02, 0.04)))
    assert wide.iteration_spread >= narrow.iteration_spread
    assert np.std(wide.action_quantiles) > np.std(narrow.action_quantiles)


def test_nothing_of_a_jitter_is_negative() -> None:
    for seed in range(20):
        jitter = replace(fit_jitter(noisy(seed, 0.05, 0.01, 0.01)), action_quantiles=(0.0,) * 33)
        assert min(numbers(jitter)) >= 0
