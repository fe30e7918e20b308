"""torch modules built from the same configs that `chimera.pipeline.models` counts: one module a layer."""

from __future__ import annotations

__all__ = ["Output", "build_layers", "loss_of", "stage_module"]

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from chimera.executor.modules.family import Output, torch_family
from chimera.pipeline.models import ModelConfig


def build_layers(
    config: ModelConfig, indices: Iterable[int], *, seed: int, dtype: torch.dtype = torch.float32
) -> list[nn.Module]:
    """The layers of `indices`, each initialised from (seed, index), so that replicas start equal."""
    family, built = torch_family(config), []
    for index in indices:
        torch.manual_seed(seed * 1_000_003 + index)
        built.append(family.layer(config, index).to(dtype))
    return built


def stage_module(config: ModelConfig, part: range, *, seed: int, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """One pipeline stage: the layers of `part` in a row."""
    return nn.Sequential(*build_layers(config, part, seed=seed, dtype=dtype))


def loss_of(config: ModelConfig, output: Output, target: Tensor) -> Tensor:
    """The family's mean loss of a micro-batch, of the last layer's output."""
    return torch_family(config).loss(output, target)
