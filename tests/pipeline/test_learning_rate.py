"""The learning rate is its formula, and what torch's own scheduler makes of the same factors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.learning_rate import DECAYS, LearningRate


def test_a_constant_rate_is_the_same_at_every_step() -> None:
    assert {LearningRate(0.25).at(step) for step in range(100)} == {0.25}


def test_warm_up_rises_by_equal_parts_to_the_peak() -> None:
    rate = LearningRate(0.8, warmup=4)
    assert [rate.at(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_a_linear_decay_after_warm_up_by_hand() -> None:
    rate = LearningRate(1.0, "linear", warmup=2, steps=6)
    assert [rate.at(step) for step in range(8)] == pytest.approx([0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0])


def test_a_cosine_decay_at_its_known_places() -> None:
    # cos of 0, 60, 90, 120 and 180 degrees: 1, 1/2, 0, -1/2, -1
    rate = LearningRate(2.0, "cosine", steps=6)
    assert [rate.at(step) for step in (0, 2, 3, 4, 6)] == pytest.approx([2.0, 1.5, 1.0, 0.5, 0.0])


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_torchs_own_schedulers_give_the_same_rates(kind: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    ours = LearningRate(0.3, kind, steps=20)
    theirs: torch.optim.lr_scheduler.LRScheduler = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
        if kind == "cosine"
        else torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=20)
    )
    for step in range(20):
        assert ours.at(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


@given(st.sampled_from(DECAYS), st.integers(0, 20), st.integers(1, 100), st.floats(1e-6, 10))
def test_a_lambda_scheduler_with_the_written_formula_agrees(decay: str, warmup: int, rest: int, peak: float) -> None:
    steps = warmup + rest

    def formula(step: int) -> float:
        progress = (step - warmup) / rest
        after = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
        return (step + 1) / warmup if step < warmup else after[decay]

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, formula)
    ours = LearningRate(peak, decay, warmup, steps)
    for step in range(steps):
        assert ours.at(step) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12, abs=1e-15)
        optimizer.step()
        scheduler.step()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="cosin"):
        LearningRate(1.0, "cosin", steps=3)
    with pytest.raises(InputError, match="leave none for a linear decay"):
        LearningRate(1.0, "linear", warmup=3, steps=3)
    with pytest.raises(InputError, match="learning rate of 0"):
        LearningRate(0.0)
