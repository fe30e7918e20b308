"""The comparison with one process must not be blind: max() passes over what is not a number."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from chimera.executor.verification.difference import largest_difference
from chimera.executor.verification.reference import Outcome

ONES = torch.ones(3, dtype=torch.float64)
TRUTH = Outcome([[ONES]], [[ONES]], 1.0)


def _item(weights: torch.Tensor) -> Any:
    stage = SimpleNamespace(weights=SimpleNamespace(values=lambda: [weights]))
    return SimpleNamespace(runtime=SimpleNamespace(stages={0: stage}), cuts=[range(0, 1)])


def test_the_largest_of_gradients_weights_and_loss_counts() -> None:
    # By hand: gradients differ by 0.5, weights by 0.25, the loss by 2.
    assert largest_difference(_item(ONES + 0.25), {0: [ONES - 0.5]}, 1.0, TRUTH) == 0.5
    assert largest_difference(_item(ONES + 0.25), {0: [ONES]}, 1.0, TRUTH) == 0.25
    assert largest_difference(_item(ONES), {0: [ONES]}, 3.0, TRUTH) == 2.0
    assert largest_difference(_item(ONES), {0: [ONES]}, 1.0, TRUTH) == 0.0


@pytest.mark.parametrize("where", ["gradient", "weight", "loss"])
def test_a_single_nan_is_an_infinite_difference(where: str) -> None:
    broken = ONES.clone()
    broken[1] = math.nan
    weights, gradient = (broken if where == name else ONES for name in ("weight", "gradient"))
    loss = math.nan if where == "loss" else 1.0
    assert largest_difference(_item(weights), {0: [gradient]}, loss, TRUTH) == math.inf
