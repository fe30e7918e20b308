"""torch modules built from the same configs that `chimera.pipeline.models` counts: one module a layer."""

from __future__ import annotations

__all__ = ["Output", "build_layers", "loss_of", "stage_module"]

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from chimera.executor.modules.convolutional import Classifier, ResidualBlock, Stem
from chimera.executor.modules.encoder import EncoderBlock, EncoderEmbedding, EncoderHead, pretraining_loss
from chimera.executor.modules.linear import Linear
from chimera.executor.modules.transformer import Block, Embedding, Head
from chimera.pipeline.models import BERT, CNN, GPT, MLP, ModelConfig, layers
from chimera.pipeline.models.cnn import residuals

Output = Tensor | tuple[Tensor, Tensor]
"""what the last layer gives to the loss: BERT has two heads"""


def _mlp_layer(config: MLP, index: int, last: int) -> nn.Module:
    inputs = config.features if index == 0 else config.hidden
    linear = Linear(inputs, config.classes if index == last else config.hidden)
    return linear if index == last else nn.Sequential(linear, nn.GELU())


def _cnn_layer(config: CNN, index: int, last: int) -> nn.Module:
    if index == 0:
        return Stem(config)
    shapes = residuals(config)
    return Classifier(config, shapes[-1]) if index == last else ResidualBlock(config, shapes[index - 1])


def _make(config: ModelConfig, index: int) -> nn.Module:
    last = len(layers(config)) - 1
    match config:
        case GPT():
            return Embedding(config) if index == 0 else Head(config) if index == last else Block(config)
        case BERT():
            return (
                EncoderEmbedding(config)
                if index == 0
                else EncoderHead(config)
                if index == last
                else EncoderBlock(config)
            )
        case CNN():
            return _cnn_layer(config, index, last)
        case MLP():
            return _mlp_layer(config, index, last)


def build_layers(
    config: ModelConfig, indices: Iterable[int], *, seed: int, dtype: torch.dtype = torch.float32
) -> list[nn.Module]:
    """The layers of `indices`, each initialised from (seed, index), so that replicas start equal."""
    built = []
    for index in indices:
        torch.manual_seed(seed * 1_000_003 + index)
        built.append(_make(config, index).to(dtype))
    return built


def stage_module(config: ModelConfig, part: range, *, seed: int, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """One pipeline stage: the layers of `part` in a row."""
    return nn.Sequential(*build_layers(config, part, seed=seed, dtype=dtype))


def loss_of(config: ModelConfig, output: Output, target: Tensor) -> Tensor:
    """Mean cross-entropy of a micro-batch: over its tokens (GPT) or samples (CNN, MLP); see `pretraining_loss` for BERT."""
    if isinstance(config, BERT):
        assert isinstance(output, tuple)
        return pretraining_loss(output, target)
    assert isinstance(output, Tensor)
    return functional.cross_entropy(output.flatten(0, -2), target.flatten())
