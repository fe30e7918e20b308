"""Decoder-only transformers: GPT-2's and GPT-3's shapes, with a head of its own."""

from __future__ import annotations

__all__ = ["FAMILY", "GPT", "gpt_layers"]

from dataclasses import dataclass

from chimera.pipeline.models.family import Family, register
from chimera.pipeline.models.layer import Layer
from chimera.pipeline.models.transformer import (
    INDEX_BYTES,
    Transformer,
    narrow_transformer,
    sequence_shape,
    transformer_blocks,
)

_VOCABULARY = 50257
"""GPT-2's, which GPT-3 has too"""


@dataclass(frozen=True, slots=True)
class GPT(Transformer):
    """Embeddings, pre-norm blocks, final norm and a projection to the vocabulary.

    The head does not share the embedding's weights, as first and last stage live on different
    devices: vocabulary x hidden parameters more than models with tied embeddings are quoted with.
    """


def gpt_layers(config: GPT) -> tuple[Layer, ...]:
    """Embedding (keeps token and position indices), blocks, head (keeps the loss's probabilities too)."""
    h, s, vocabulary = config.hidden, config.sequence, config.vocabulary
    positions = config.positions or s
    embedding = Layer("embedding", "embedding", (vocabulary + positions) * h, 0, 2 * s, (s, h))
    blocks = transformer_blocks(config.blocks, hidden=h, heads=config.heads, sequence=s)
    kept = s * (2 * h + 2 + vocabulary)
    head = Layer("head", "head", 2 * h + h * vocabulary, 2 * s * h * vocabulary, kept, (s, vocabulary))
    return (embedding, *blocks, head)


def _gpt_2(name: str, blocks: int, hidden: int, heads: int) -> GPT:
    return GPT(name, blocks, hidden, heads, sequence=1024, vocabulary=_VOCABULARY)


def _gpt_3(name: str, blocks: int, hidden: int, heads: int) -> GPT:
    return GPT(name, blocks, hidden, heads, sequence=2048, vocabulary=_VOCABULARY)


FAMILY = register(
    Family(
        name="gpt",
        config=GPT,
        layers=gpt_layers,
        input_shape=sequence_shape,
        element_bytes=INDEX_BYTES,
        narrow=narrow_transformer,
        presets=(
            GPT("gpt-tiny", blocks=8, hidden=128, heads=4, sequence=128, vocabulary=256),
            GPT("gpt-mini", blocks=12, hidden=256, heads=8, sequence=128, vocabulary=256),
            _gpt_2("gpt-2-small", 12, 768, 12),
            _gpt_2("gpt-2-medium", 24, 1024, 16),
            _gpt_2("gpt-2-large", 36, 1280, 20),
            _gpt_2("gpt-2-xl", 48, 1600, 25),
            # Chimera paper, section 4: "GPT-2" of 64 layers, and its 32-layer variant
            GPT("gpt-2-32", blocks=32, hidden=1280, heads=20, sequence=632, vocabulary=_VOCABULARY, positions=1024),
            GPT("gpt-2-64", blocks=64, hidden=1280, heads=20, sequence=632, vocabulary=_VOCABULARY, positions=1024),
            # arXiv 2005.14165, table 2.1. Its 24 heads of 128 do not make a width of 2048, and 40 of 128 not 5140:
            # 16 heads, and a width of 5120.
            _gpt_3("gpt-3-1.3b", 24, 2048, 16),
            _gpt_3("gpt-3-2.7b", 32, 2560, 32),
            _gpt_3("gpt-3-6.7b", 32, 4096, 32),
            _gpt_3("gpt-3-13b", 40, 5120, 40),
            _gpt_3("gpt-3-175b", 96, 12288, 96),
        ),
    )
)
