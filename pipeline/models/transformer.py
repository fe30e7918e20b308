"""What all transformers have in common, decoder or encoder: their numbers and their blocks."""

from __future__ import annotations

__all__ = ["INDEX_BYTES", "Transformer", "narrow_transformer", "sequence_shape", "transformer_blocks"]

from dataclasses import dataclass, replace
from typing import TypeVar

from chimera.pipeline.models.family import ModelConfig
from chimera.pipeline.models.layer import Layer

INDEX_BYTES = 8
"""of a token's index"""


@dataclass(frozen=True, slots=True)
class Transformer(ModelConfig):
    """The numbers of one; what stands before and behind its blocks is the family's."""

    blocks: int
    hidden: int
    heads: int
    sequence: int
    vocabulary: int
    positions: int = 0
    """rows of the position embedding; 0 means `sequence`"""


T = TypeVar("T", bound=Transformer)


def sequence_shape(config: Transformer) -> tuple[int, ...]:
    """The shape of one sample: the indices of its tokens."""
    return (config.sequence,)


def narrow_transformer(config: T) -> T:
    """As many blocks and heads, each of two numbers, on sequences of 16 tokens at most."""
    return replace(config, hidden=2 * config.heads, sequence=min(config.sequence, 16), positions=0)


def transformer_blocks(count: int, *, hidden: int, heads: int, sequence: int) -> tuple[Layer, ...]:
    """Self-attention and an MLP of four times the width, each with its norm and its residual.

    The figures hold for norms before (GPT) and after them (BERT), for causal attention as for
    full: a causal mask saves no product. Parameters: qkv 3h^2+3h, projection h^2+h, MLP 8h^2+5h,
    norms 4h. Products: 24 s h^2 with weights, 4 s^2 h with scores. Kept, per token: the inputs of
    both norms and of both linear layers behind them (4 h), qkv (3 h), attention's output (h), the
    MLP's hidden layer before and after GELU (8 h), two statistics a norm, and per head the
    softmax's normaliser.
    """
    h, s = hidden, sequence
    parameters, flops = 12 * h * h + 13 * h, 24 * s * h * h + 4 * s * s * h
    kept = s * (4 * h + 3 * h + h + 8 * h + heads + 4)
    return tuple(Layer(f"block-{index}", "block", parameters, flops, kept, (s, h)) for index in range(count))
