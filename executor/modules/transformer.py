"""The layers of GPT: embedding, pre-norm decoder block, head; and what encoders share with them."""

from __future__ import annotations

__all__ = ["Attention", "Block", "Embedding", "Head"]

import torch
from torch import Tensor, nn
from torch.nn import functional

from chimera.executor.modules.linear import Linear
from chimera.pipeline.models import BERT, GPT


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


class Attention(nn.Module):
    """The linear layers and norms of any block, and its self-attention; the order of both is the block's own."""

    causal: bool

    def __init__(self, config: GPT | BERT) -> None:
        super().__init__()
        h = config.hidden
        self.heads = config.heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(h), nn.LayerNorm(h)
        self.qkv, self.projection = Linear(h, 3 * h), Linear(h, h)
        self.expand, self.contract = Linear(h, 4 * h), Linear(4 * h, h)

    def attend(self, x: Tensor) -> Tensor:
        """Self-attention: [B, S, hidden] -> [B, S, hidden]."""
        batch, sequence, hidden = x.shape
        qkv = self.qkv(x).view(batch, sequence, 3, self.heads, hidden // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.projection(mixed.transpose(1, 2).reshape(batch, sequence, hidden))  # type: ignore[no-any-return]

    def widen(self, x: Tensor) -> Tensor:
        """The MLP: [B, S, hidden] -> [B, S, hidden]."""
        return self.contract(functional.gelu(self.expand(x)))  # type: ignore[no-any-return]


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
