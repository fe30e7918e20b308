"""Optimizer steps in place become a constant and a rate where the stages' sizes can tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from chimera.calibration.fitting.observations import Observations
from chimera.calibration.fitting.profile import Measurements, fit_optimizer
from chimera.pipeline.models import layers, model_config

MODEL = model_config("cnn-tiny")
SIZES = [layer.parameters for layer in layers(MODEL)]


def fitted(steps: Mapping[int, Sequence[int]], partition: tuple[int, ...]) -> tuple[int, float]:
    observations = Observations()
    observations.steps.update({stage: list(times) for stage, times in steps.items()})
    cost = fit_optimizer(Measurements(MODEL, len(partition), 4, "adamw", [], observations, partition))
    return cost.constant_ns, cost.ns_per_parameter


def test_stages_of_unequal_size_tell_constant_and_rate_apart() -> None:
    """Layers 0-3 have 23,920 parameters, 4-7 have 150,858: 200 us and 1 ns a parameter, noise that medians ignore."""
    sizes = sum(SIZES[:4]), sum(SIZES[4:])
    assert sizes == (23_920, 150_858)
    steps = {stage: [200_000 + size, 200_000 + size, 999_999] for stage, size in enumerate(sizes)}
    constant, rate = fitted(steps, (4, 4))
    assert constant == pytest.approx(200_000, abs=1) and rate == pytest.approx(1.0)


def test_stages_of_like_size_give_a_rate_alone() -> None:
    """Layers 0-5 have 100,016 parameters and 6-7 have 74,762: the line through both would be noise."""
    sizes = sum(SIZES[:6]), sum(SIZES[6:])
    constant, rate = fitted({0: [3 * sizes[0]], 1: [3 * sizes[1]]}, (6, 2))
    assert constant == 0 and rate == pytest.approx(3.0)


def test_a_larger_stage_that_is_faster_gives_a_constant() -> None:
    constant, rate = fitted({0: [300_000], 1: [200_000]}, (4, 4))
    assert (constant, rate) == (250_000, 0.0)


def test_without_steps_there_is_no_cost() -> None:
    assert fitted({}, (4, 4)) == (0, 0.0)
