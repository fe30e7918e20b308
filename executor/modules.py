"""torch modules built from the same configs that `pipeline.models` counts: one module a layer."""

from __future__ import annotations

__all__ = ["boundary_shape", "build_layers", "loss_of", "stage_module"]

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.linear import Linear
from pipeline.models import GPT, MLP, ModelConfig, layers


class Embedding(nn.Module):
    """Token plus position embedding: token indices [B, S] -> [B, S, hidden]."""

    def __init__(self, config: GPT) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocabulary, config.hidden)
        self.positions = nn.Embedding(config.positions or config.sequence, config.hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeds every token of every sequence."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.tokens(tokens) + self.positions(places)  # type: ignore[no-any-return]


class Block(nn.Module):
    """A pre-norm decoder block: causal self-attention and an MLP of four times the width."""

    def __init__(self, config: GPT) -> None:
        super().__init__()
        h = config.hidden
        self.heads = config.heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(h), nn.LayerNorm(h)
        self.qkv, self.projection = Linear(h, 3 * h), Linear(h, h)
        self.expand, self.contract = Linear(h, 4 * h), Linear(4 * h, h)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, hidden] -> [B, S, hidden]."""
        batch, sequence, hidden = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, sequence, 3, self.heads, hidden // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.projection(mixed.transpose(1, 2).reshape(batch, sequence, hidden))
        return x + self.contract(functional.gelu(self.expand(self.norm_mlp(x))))  # type: ignore[no-any-return]


class Head(nn.Module):
    """Final norm and the projection to the vocabulary: [B, S, hidden] -> [B, S, vocabulary]."""

    def __init__(self, config: GPT) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden)
        self.logits = Linear(config.hidden, config.vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of every position."""
        return self.logits(self.norm(x))  # type: ignore[no-any-return]


def _mlp_layer(inputs: int, outputs: int, last: bool) -> nn.Module:
    linear = Linear(inputs, outputs)
    return linear if last else nn.Sequential(linear, nn.GELU())


def _make(config: ModelConfig, index: int) -> nn.Module:
    last = len(layers(config)) - 1
    if isinstance(config, GPT):
        return Embedding(config) if index == 0 else Head(config) if index == last else Block(config)
    assert isinstance(config, MLP)
    inputs = config.features if index == 0 else config.hidden
    outputs = config.classes if index == last else config.hidden
    return _mlp_layer(inputs, outputs, index == last)


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


def loss_of(config: ModelConfig, output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of a micro-batch: over its tokens (GPT) or its samples (MLP)."""
    return functional.cross_entropy(output.flatten(0, -2), target.flatten())


def boundary_shape(config: ModelConfig) -> tuple[int, ...]:
    """The shape of one sample where stages meet: [S, hidden] (GPT) or [hidden] (MLP)."""
    return (config.sequence, config.hidden) if isinstance(config, GPT) else (config.hidden,)
