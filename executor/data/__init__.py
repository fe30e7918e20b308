"""Deterministic batches: the same samples for any schedule, width and placement, on every machine.

What is always there needs no download: the standard library's own sources as text, scikit-learn's
digits as images, vectors labelled by a fixed random teacher. A micro-batch depends on the seed and
its number among all of the training alone, and no two of an epoch share an image. Which of them a
model takes, and as what, is its family's to say (`chimera.executor.modules.family.Inputs`).
"""

from __future__ import annotations

__all__ = ["DATA_NAMES", "Microbatch", "Source", "check_source", "corpus", "held_out", "microbatch", "name_source"]

import torch

from chimera.executor.data.batch import Draw, Microbatch
from chimera.executor.data.source import DATA_NAMES, Source
from chimera.executor.data.text import corpus
from chimera.executor.modules.family import torch_family
from chimera.pipeline.models import ModelConfig

_DEFAULT = Source()


def name_source(config: ModelConfig, source: Source) -> Source:
    """The source with its name, the family's default if it has none. Raises InputError for data that does not fit."""
    return torch_family(config).inputs.name_source(config, source)


def check_source(config: ModelConfig, source: Source) -> Source:
    """The source with its name, the family's default if it has none; loads it, so that what is wrong is said early.

    Raises InputError for data that does not fit the model, is not there or is damaged.
    """
    named = name_source(config, source)
    torch_family(config).inputs.load(config, named)
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
    draw = Draw(size, seed, iteration, number, count, dtype)
    return torch_family(config).inputs.draw_batch(config, name_source(config, source), draw)


def held_out(
    config: ModelConfig, size: int, *, seed: int, dtype: torch.dtype = torch.float32, source: Source = _DEFAULT
) -> Microbatch:
    """At most `size` samples that no training iteration sees, the same for every schedule."""
    draw = Draw(size, seed, dtype=dtype)
    return torch_family(config).inputs.held_out(config, name_source(config, source), draw)
