"""Spreads that are known, drawn by the simulator, and found again in its timelines."""

from dataclasses import replace

import numpy as np
import pytest

from chimera.calibration.fitting.observations import Observations, observe
from chimera.calibration.fitting.variation import fit_jitter
from chimera.calibration.measuring.short_runs import calibration_schedules
from chimera.pipeline.lowering.lower import lower
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import AllReduceCost, Jitter, LinkCost, OptimizerCost
from chimera.simulator.draws.sampling import draw, drawn
from chimera.simulator.engines.direct import engine
from chimera.simulator.engines.times import timeline_of
from chimera.simulator.workload.workload import Workload
from tests.machines import MS, stage_machine

ITERATIONS = 200
MACHINE = stage_machine(
    5 * MS,
    10 * MS,
    5 * MS,
    5 * MS,
    size={"boundary_bytes": 4},
    parameters=10**6,
    links={"local": LinkCost(latency_ns=3 * MS // 10)},
    all_reduce=AllReduceCost(latency_ns=4 * MS),
    optimizer=OptimizerCost(constant_ns=3 * MS),
)
OWN = tuple(np.linspace(-0.06, 0.06, 33))  # uniform: standard deviation 0.12 / sqrt(12) = 0.0346


def refit(jitter: Jitter, seed: int = 1) -> Jitter:
    """What is fitted to drawn iterations of the calibration's own schedules."""
    observations = Observations()
    for number, schedule in enumerate(calibration_schedules(2).values()):
        workload = Workload(lower(schedule), replace(MACHINE, jitter=jitter), Durations(schedule, MACHINE))
        workload.profile = replace(MACHINE, jitter=jitter)
        timelines = []
        for batch in draw(workload, ITERATIONS, seed + 100 * number):
            for row in batch:
                sample = drawn(workload, row)
                timelines.append(timeline_of(sample, engine.run(sample)))
        observe(schedule, timelines, [4, 4], observations)
    return fit_jitter(observations)


def deviation(quantiles: tuple[float, ...]) -> float:
    """Standard deviation of a distribution given by evenly spaced quantiles."""
    return float(np.std(np.interp(np.linspace(0, 1, 2001), np.linspace(0, 1, len(quantiles)), quantiles)))


def test_a_machine_that_never_varies_has_no_jitter() -> None:
    fitted = refit(Jitter(action_quantiles=(0.0,) * 33))
    assert fitted == Jitter(action_quantiles=fitted.action_quantiles)
    assert max(map(abs, fitted.action_quantiles)) < 1e-3


@pytest.mark.parametrize("iteration", [0.0, 0.04])
@pytest.mark.parametrize("device", [0.0, 0.03])
def test_iterations_devices_and_actions_are_told_apart(iteration: float, device: float) -> None:
    # The iterations' variance is what two devices have in common: its standard error over 4 x 200 iterations
    # is device^2 / sqrt(800), and two of them are the square of 0.008.
    fitted = refit(Jitter(action_quantiles=OWN, iteration_spread=iteration, device_spread=device))
    assert fitted.iteration_spread == pytest.approx(iteration, abs=0.008)
    assert fitted.device_spread == pytest.approx(device, abs=0.006)
    assert deviation(fitted.action_quantiles) == pytest.approx(0.0346, rel=0.1)


def test_nothing_is_counted_twice() -> None:
    # The variance of a whole iteration, drawn from the fitted jitter, is that of the truth.
    truth = Jitter(
        action_quantiles=OWN, iteration_spread=0.04, device_spread=0.02, message_spread=0.2, optimizer_spread=0.1
    )
    schedule = calibration_schedules(2)["calibration-dapple"]

    def spread(jitter: Jitter) -> float:
        workload = Workload(lower(schedule), replace(MACHINE, jitter=jitter), Durations(schedule, MACHINE))
        rows = [row for batch in draw(workload, 600, 7) for row in batch]
        ends = [engine.run(sample).end_ns for row in rows for sample in [drawn(workload, row)]]
        return float(np.std(ends) / np.mean(ends))

    assert spread(refit(truth)) == pytest.approx(spread(truth), rel=0.15)


@pytest.mark.parametrize(
    ("field", "truth"), [("message_spread", 0.3), ("all_reduce_spread", 0.2), ("optimizer_spread", 0.1)]
)
def test_what_is_no_computation_has_a_spread_of_its_own(field: str, truth: float) -> None:
    fitted = refit(replace(Jitter(action_quantiles=(0.0,) * 33), **{field: truth}))  # type: ignore[arg-type]
    assert getattr(fitted, field) == pytest.approx(truth, rel=0.15)
    others = {"message_spread", "all_reduce_spread", "optimizer_spread", "device_spread", "iteration_spread"} - {field}
    assert all(getattr(fitted, other) < 0.01 for other in others)


def test_stragglers_are_no_drift() -> None:
    fitted = refit(Jitter(action_quantiles=OWN, straggler_probability=0.1, straggler_factor=1.5))
    # 1,600 device-iterations: standard error 0.0075
    assert fitted.straggler_probability == pytest.approx(0.1, abs=0.015)
    assert fitted.straggler_factor == pytest.approx(1.5, rel=0.05)
    assert fitted.device_spread < 0.01
    assert deviation(fitted.action_quantiles) == pytest.approx(0.0346, rel=0.1)


def test_stalls_are_told_from_what_always_varies() -> None:
    fitted = refit(Jitter(action_quantiles=OWN, stalls_per_s=8.0, stall_ns=8 * MS))
    # About 600 stalls, exponential: standard error of their sum sqrt(2 / 600) = 6 %; those below a fifth of an
    # action are not told from its variation, (1 + x) exp(-x) = 97 % of the lost time (x = 2.2 ms / 8 ms) is.
    assert fitted.stalls_per_s * fitted.stall_ns == pytest.approx(8.0 * 8 * MS, rel=0.2)
    assert deviation(fitted.action_quantiles) == pytest.approx(0.0346, rel=0.15)
    assert fitted.iteration_spread < 0.01 and fitted.device_spread < 0.01


def test_a_machine_without_stalls_shows_none() -> None:
    assert refit(Jitter(action_quantiles=OWN, iteration_spread=0.04)).stalls_per_s == 0


def test_too_few_observations_show_no_variation() -> None:
    assert fit_jitter(Observations()) == Jitter()
