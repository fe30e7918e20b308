"""Bidirectional encoders with the heads of BERT's pre-training (arXiv 1810.04805)."""

from __future__ import annotations

__all__ = ["BERT", "FAMILY", "SEGMENTS", "SPECIAL_TOKENS", "bert_layers"]

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

_VOCABULARY = 30522
"""the published one's"""

SEGMENTS = 2
"""sentences of a sample: rows of the segment embedding, classes of the head that says whether one follows"""
SPECIAL_TOKENS = 3
"""the last rows of the vocabulary: classification, separator, mask"""


@dataclass(frozen=True, slots=True)
class BERT(Transformer):
    """Token, position and segment embeddings with their norm, post-norm blocks, and both pre-training heads.

    The head is a pooler (hidden^2 + hidden) with its two-way classifier (2 hidden + 2), and for the
    masked tokens a transform (hidden^2 + hidden) with its norm (2 hidden) and a decoder of its own:
    vocabulary x (hidden + 1), untied from the embedding. With 48 layers of 1024, 30,522 tokens and
    512 positions these are the 669,790,012 parameters of the Chimera paper, to the last one. No dropout.
    """


def bert_layers(config: BERT) -> tuple[Layer, ...]:
    """Embedding, blocks, head; the output of the last is that of the token head, beside two logits of the pooler's.

    The embedding keeps three indices a token and its norm's input and statistics; the head the
    input, the transform before and after GELU and behind its norm, and the loss's probabilities.
    """
    h, s, vocabulary = config.hidden, config.sequence, config.vocabulary
    rows = vocabulary + (config.positions or s) + SEGMENTS
    embedding = Layer("embedding", "embedding", rows * h + 2 * h, 0, s * (3 + h + 2), (s, h))
    blocks = transformer_blocks(config.blocks, hidden=h, heads=config.heads, sequence=s)
    pooler, transform = h * h + h, h * h + h + 2 * h
    parameters = pooler + SEGMENTS * (h + 1) + transform + vocabulary * (h + 1)
    flops = 2 * s * h * (h + vocabulary) + 2 * h * (h + SEGMENTS)
    kept = s * (4 * h + 2 + vocabulary) + h + SEGMENTS
    return (embedding, *blocks, Layer("head", "head", parameters, flops, kept, (s, vocabulary)))


def _bert(name: str, blocks: int, hidden: int, heads: int) -> BERT:
    return BERT(name, blocks, hidden, heads, sequence=128, vocabulary=_VOCABULARY, positions=512)


FAMILY = register(
    Family(
        name="bert",
        config=BERT,
        layers=bert_layers,
        input_shape=sequence_shape,
        element_bytes=INDEX_BYTES,
        narrow=narrow_transformer,
        presets=(
            # bytes, and the three special tokens
            BERT("bert-tiny", blocks=8, hidden=128, heads=4, sequence=128, vocabulary=259),
            BERT("bert-mini", blocks=12, hidden=256, heads=8, sequence=128, vocabulary=259),
            _bert("bert-base", 12, 768, 12),
            _bert("bert-large", 24, 1024, 16),
            # Chimera paper, section 4: 48 layers, sequences of 128 tokens
            _bert("bert-48", 48, 1024, 16),
        ),
    )
)
