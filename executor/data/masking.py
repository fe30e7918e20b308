"""BERT's pre-training task (arXiv 1810.04805, section 3.1) on bytes."""

from __future__ import annotations

__all__ = ["draw_masked_pairs"]

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimera.executor.data.batch import IGNORED
from chimera.pipeline.models.bert import SPECIAL_TOKENS
from chimera.pipeline.models.transformer import Transformer

_MASKED, _HIDDEN, _REPLACED = 0.15, 0.8, 0.1
"""shares: tokens to be found; of those, hidden behind the mask token; of those, replaced by a random byte"""
_Tokens = NDArray[np.int64]


class _Layout(NamedTuple):
    """Places of a sequence: [classification] first [separator] second [separator]."""

    first: slice
    second: slice
    separators: tuple[int, int]


def _layout(sequence: int) -> _Layout:
    middle = (sequence + 1) // 2
    return _Layout(slice(1, middle - 1), slice(middle, sequence - 1), (middle - 1, sequence - 1))


def draw_masked_pairs(
    config: Transformer, size: int, text: NDArray[np.uint8], generator: np.random.Generator
) -> tuple[_Tokens, _Tokens]:
    """Tokens [B, S] and targets [B, S]: see `chimera.executor.modules.bert.pretraining_loss`.

    In half of the samples the second segment follows the first in the text (class 0), in the others
    it is from anywhere (class 1). Every sample has the same number of tokens to find, so that the mean
    over a mini-batch does not depend on how it is cut.
    """
    bytes_only, layout = config.vocabulary - SPECIAL_TOKENS, _layout(config.sequence)
    classification, separator, mask = range(bytes_only, config.vocabulary)
    tokens, order = _pairs(size, config.sequence, layout, text, generator)
    tokens %= bytes_only
    tokens[:, 0] = classification
    tokens[:, list(layout.separators)] = separator
    places = np.r_[layout.first, layout.second]
    count = max(round(_MASKED * len(places)), 1)
    chosen = places[generator.random((size, len(places))).argsort(axis=1)[:, :count]]
    truth = np.take_along_axis(tokens, chosen, axis=1)
    draw = generator.random(truth.shape)
    random_bytes = generator.integers(0, bytes_only, truth.shape)
    shown = np.where(draw < _HIDDEN, mask, np.where(draw < _HIDDEN + _REPLACED, random_bytes, truth))
    np.put_along_axis(tokens, chosen, shown, axis=1)
    targets = np.full_like(tokens, IGNORED)
    np.put_along_axis(targets, chosen, truth, axis=1)
    targets[:, 0] = order
    return tokens, targets


def _pairs(
    size: int, sequence: int, layout: _Layout, text: NDArray[np.uint8], generator: np.random.Generator
) -> tuple[_Tokens, _Tokens]:
    """Two segments of text in their places, and whether the second is from elsewhere [B]."""
    tokens, order = np.zeros((size, sequence), dtype=np.int64), generator.integers(0, 2, size)
    starts, elsewhere = generator.integers(0, len(text) - sequence, (2, size))
    length, second = layout.first.stop - layout.first.start, layout.second.stop - layout.second.start
    for row in range(size):
        start = starts[row]
        then = elsewhere[row] if order[row] else start + length
        tokens[row, layout.first] = text[start : start + length]
        tokens[row, layout.second] = text[then : then + second]
    return tokens, order
