"""Deterministic batches: the same samples for any schedule, width and placement, on every machine.

What is always there needs no download: the standard library's own sources as text, scikit-learn's
digits as images, vectors labelled by a fixed random teacher. A micro-batch depends on the seed and
its number among all of the training alone, and no two of an epoch share an image.
"""

from __future__ import annotations

__all__ = ["DATA_NAMES", "Microbatch", "Source", "check_source", "corpus", "held_out", "microbatch"]

import torch

from chimera.executor.data.batch import Microbatch
from chimera.executor.data.images import IMAGES, held_out_images, image_batch, images
from chimera.executor.data.source import DATA_NAMES, Source
from chimera.executor.data.text import corpus, held_out_text, text_batch
from chimera.executor.data.vectors import held_out_vectors, vector_batch
from chimera.pipeline.errors import InputError
from chimera.pipeline.models import BERT, CNN, GPT, MLP, ModelConfig

_DEFAULT = Source()


def check_source(config: ModelConfig, source: Source) -> Source:
    """The source with its name, the family's default if it has none; loads it, so that what is wrong is said early.

    Raises InputError for data that does not fit the model, is not there or is damaged.
    """
    named = source.named(config)
    if isinstance(config, GPT | BERT):
        corpus(named)
    elif named.name in IMAGES:
        images(named, config)
    elif isinstance(config, CNN):
        raise InputError(f"data {named.name!r} for {config.name}", "holds no images", f"use one of {', '.join(IMAGES)}")
    return named


def microbatch(
    config: ModelConfig,
    size: int,
    *,
    seed: int,
    iteration: int,
    number: int,
    count: int = 1,
    dtype: torch.dtype = torch.float32,
    source: Source = _DEFAULT,
) -> Microbatch:
    """Micro-batch `number` of the `count` of an iteration over all copies of the pipeline; `size` samples."""
    source = source.named(config)
    key = [seed, iteration, number]
    if isinstance(config, GPT | BERT):
        return text_batch(config, size, corpus(source).train, key)
    if source.name in IMAGES:
        first = (iteration * count + number) * size
        return image_batch(config, images(source, config), range(first, first + size), seed, dtype)
    assert isinstance(config, MLP)
    return vector_batch(config, size, key, dtype)


def held_out(
    config: ModelConfig, size: int, *, seed: int, dtype: torch.dtype = torch.float32, source: Source = _DEFAULT
) -> Microbatch:
    """At most `size` samples that no training iteration sees, the same for every schedule."""
    source = source.named(config)
    if isinstance(config, GPT | BERT):
        return held_out_text(config, size, corpus(source).held_out, seed)
    if source.name in IMAGES:
        return held_out_images(config, images(source, config), size, dtype)
    assert isinstance(config, MLP)
    return held_out_vectors(config, size, seed, dtype)
