"""Decoder-only transformers: GPT-2's and GPT-3's shapes, with a head of its own."""

from __future__ import annotations

__all__ = ["GPT", "gpt_layers"]

from dataclasses import dataclass
from typing import Literal

from chimera.pipeline.models.layer import Layer
from chimera.pipeline.models.transformer import Transformer, transformer_blocks


@dataclass(frozen=True, slots=True)
class GPT(Transformer):
    """Embeddings, pre-norm blocks, final norm and a projection to the vocabulary.

    The head does not share the embedding's weights, as first and last stage live on different
    devices: vocabulary x hidden parameters more than models with tied embeddings are quoted with.
    """

    family: Literal["gpt"] = "gpt"


def gpt_layers(config: GPT) -> tuple[Layer, ...]:
    """Embedding (keeps token and position indices), blocks, head (keeps the loss's probabilities too)."""
    h, s, vocabulary = config.hidden, config.sequence, config.vocabulary
    positions = config.positions or s
    embedding = Layer("embedding", "embedding", (vocabulary + positions) * h, 0, 2 * s, (s, h))
    blocks = transformer_blocks(config.blocks, hidden=h, heads=config.heads, sequence=s)
    kept = s * (2 * h + 2 + vocabulary)
    head = Layer("head", "head", 2 * h + h * vocabulary, 2 * s * h * vocabulary, kept, (s, vocabulary))
    return (embedding, *blocks, head)
