"""Weights in one buffer: the optimizer's mathematics, and versions that outlive a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from chimera.executor.iteration.weights import OPTIMIZERS, Weights


def _module() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 2)).double()


def _backward(module: nn.Module, scale: float) -> None:
    inputs = torch.arange(6, dtype=torch.float64).reshape(2, 3) * scale
    module(inputs).pow(2).sum().backward()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_equal_torchs_own_loop_over_parameters(name: str) -> None:
    weights = Weights(_module(), name, 0.01)
    plain = _module()
    of_torch: Any = OPTIMIZERS[name]
    optimizer = of_torch(plain.parameters(), lr=0.01, foreach=False)
    for scale in (0.1, 0.2, 0.3):
        version = weights.acquire()
        _backward(version.module, scale)
        weights.release(version)
        weights.step()
        optimizer.zero_grad()
        _backward(plain, scale)
        optimizer.step()
    for ours, theirs in zip(weights.values(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-10)
    assert len(weights.versions) == 1


def test_a_version_in_use_keeps_its_values() -> None:
    weights = Weights(_module(), "sgd", 0.1, "pipedream")
    old = weights.acquire()
    before = [p.detach().clone() for p in old.module.parameters()]
    _backward(weights.newest.module, 0.1)
    weights.step()
    assert all(torch.equal(p, q) for p, q in zip(old.module.parameters(), before, strict=True))
    new = weights.acquire()
    assert new is not old and len(weights.versions) == 2
    weights.release(old)
    weights.release(new)
    weights.step()
    assert len(weights.versions) == 2, "a free version is used again"


def test_two_versions_are_enough_for_2bw_and_its_gradients_are_one_update_old() -> None:
    weights = Weights(_module(), "sgd", 0.1, "2bw")
    seen = []
    for _ in range(4):
        version = weights.acquire()
        seen.append(version.flat.clone())
        _backward(version.module, 0.1)
        weights.release(version)
        weights.step()
        seen.append(weights.newest.flat.clone())
    used, newest = seen[0::2], seen[1::2]
    assert torch.equal(used[1], used[0]) and torch.equal(used[2], newest[0]) and torch.equal(used[3], newest[1])
    assert len(weights.versions) == 2


def test_reset_goes_back_to_the_beginning() -> None:
    weights = Weights(_module(), "adamw", 0.1)
    weights.remember()
    trajectories = []
    for _ in range(2):
        for _ in range(2):
            _backward(weights.newest.module, 0.1)
            weights.step()
        trajectories.append(weights.newest.flat.clone())
        weights.reset()
    assert torch.equal(*trajectories)
