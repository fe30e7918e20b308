"""BERT with torch: embedding with segments, post-norm encoder block, both pre-training heads; it learns masked text."""

from __future__ import annotations

__all__ = ["FAMILY", "EncoderBlock", "EncoderEmbedding", "EncoderHead", "pretraining_loss", "score_tokens"]

import torch
from torch import Tensor, nn
from torch.nn import functional

from chimera.executor.data.batch import IGNORED
from chimera.executor.data.masking import draw_masked_pairs
from chimera.executor.data.text import TextInputs
from chimera.executor.modules.attention import Attention
from chimera.executor.modules.family import Right, TorchFamily, register, score_classes
from chimera.executor.modules.linear import Linear
from chimera.pipeline.models.bert import BERT, SEGMENTS


class EncoderEmbedding(nn.Module):
    """Tokens [B, S] -> [B, S, hidden]; the second half of a sequence is its second segment."""

    def __init__(self, config: BERT) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocabulary, config.hidden)
        self.positions = nn.Embedding(config.positions or config.sequence, config.hidden)
        self.segments = nn.Embedding(SEGMENTS, config.hidden)
        self.norm = nn.LayerNorm(config.hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeds every token of every sequence."""
        length = tokens.shape[1]
        places = torch.arange(length, device=tokens.device)
        segments = (places * SEGMENTS) // length
        return self.norm(self.tokens(tokens) + self.positions(places) + self.segments(segments))  # type: ignore[no-any-return]


class EncoderBlock(Attention):
    """A post-norm encoder block: every token sees all others."""

    causal = False

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, hidden] -> [B, S, hidden]."""
        x = self.norm_attention(x + self.attend(x))
        return self.norm_mlp(x + self.widen(x))  # type: ignore[no-any-return]


class EncoderHead(nn.Module):
    """[B, S, hidden] -> logits of every token [B, S, vocabulary], and of the order of the segments [B, 2]."""

    def __init__(self, config: BERT) -> None:
        super().__init__()
        h = config.hidden
        self.transform, self.norm = Linear(h, h), nn.LayerNorm(h)
        self.decoder = Linear(h, config.vocabulary)
        self.pooler, self.order = Linear(h, h), Linear(h, SEGMENTS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens from all places, order from the first."""
        tokens = self.decoder(self.norm(functional.gelu(self.transform(x))))
        return tokens, self.order(torch.tanh(self.pooler(x[:, 0])))


def pretraining_loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    """Mean cross-entropy of the masked tokens plus that of the order of the segments.

    `target` [B, S] holds the order in its first column, where the classification token stands, and
    in the others the token to be found, or IGNORED.
    """
    tokens, order = output
    wanted = target.clone()
    wanted[:, 0] = IGNORED
    of_tokens = functional.cross_entropy(tokens.flatten(0, -2), wanted.flatten(), ignore_index=IGNORED)
    return of_tokens + functional.cross_entropy(order, target[:, 0])


def score_tokens(output: tuple[Tensor, Tensor], target: Tensor) -> Right:
    """Of the two heads, the one for tokens; the first column of `target` is the other's."""
    return score_classes(output[0][:, 1:], target[:, 1:])


def _layer(config: BERT, index: int) -> nn.Module:
    if index == 0:
        return EncoderEmbedding(config)
    return EncoderBlock(config) if index <= config.blocks else EncoderHead(config)


FAMILY = register(
    TorchFamily(
        config=BERT, layer=_layer, inputs=TextInputs(draw_masked_pairs), loss=pretraining_loss, score=score_tokens
    )
)
