"""Stacks of linear layers with torch; they learn what a fixed random teacher says of vectors, or images as vectors."""

from __future__ import annotations

__all__ = ["FAMILY"]

from torch import nn

from chimera.executor.data.features import FeatureInputs
from chimera.executor.modules.family import TorchFamily, cross_entropy, register, score_classes
from chimera.executor.modules.linear import Linear
from chimera.pipeline.models.mlp import MLP


def _layer(config: MLP, index: int) -> nn.Module:
    inputs = config.features if index == 0 else config.hidden
    if index > config.blocks:
        return Linear(inputs, config.classes)
    return nn.Sequential(Linear(inputs, config.hidden), nn.GELU())


FAMILY = register(
    TorchFamily(config=MLP, layer=_layer, inputs=FeatureInputs("teacher"), loss=cross_entropy, score=score_classes)
)
