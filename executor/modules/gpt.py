"""GPT with torch: embedding, pre-norm decoder block, head; it learns what follows in a text."""

from __future__ import annotations

__all__ = ["FAMILY", "Block", "Embedding", "Head"]

import torch
from torch import Tensor, nn

from chimera.executor.data.text import TextInputs, draw_windows
from chimera.executor.modules.attention import Attention
from chimera.executor.modules.family import TorchFamily, cross_entropy, register, score_classes
from chimera.executor.modules.linear import Linear
from chimera.pipeline.models.gpt import GPT


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


class Block(Attention):
    """A pre-norm decoder block: causal self-attention and an MLP of four times the width."""

    causal = True

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, hidden] -> [B, S, hidden]."""
        x = x + self.attend(self.norm_attention(x))
        return x + self.widen(self.norm_mlp(x))


class Head(nn.Module):
    """Final norm and the projection to the vocabulary: [B, S, hidden] -> [B, S, vocabulary]."""

    def __init__(self, config: GPT) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden)
        self.logits = Linear(config.hidden, config.vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of every position."""
        return self.logits(self.norm(x))  # type: ignore[no-any-return]


def _layer(config: GPT, index: int) -> nn.Module:
    if index == 0:
        return Embedding(config)
    return Block(config) if index <= config.blocks else Head(config)


FAMILY = register(
    TorchFamily(config=GPT, layer=_layer, inputs=TextInputs(draw_windows), loss=cross_entropy, score=score_classes)
)
