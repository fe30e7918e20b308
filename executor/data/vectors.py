"""Random vectors labelled by a fixed random linear teacher."""

from __future__ import annotations

__all__ = ["held_out_vectors", "vector_batch"]

import numpy as np
import torch

from chimera.executor.data.batch import NEVER, Microbatch
from chimera.pipeline.models import MLP

_TEACHER = 77


def vector_batch(config: MLP, size: int, key: list[int], dtype: torch.dtype) -> Microbatch:
    """[B, features] and [B] classes; `key` is (seed, iteration, number)."""
    generator = np.random.default_rng(key)
    teacher = np.random.default_rng([key[0], _TEACHER]).normal(size=(config.features, config.classes))
    vectors = generator.normal(size=(size, config.features))
    return Microbatch(torch.from_numpy(vectors).to(dtype), torch.from_numpy((vectors @ teacher).argmax(axis=1)))


def held_out_vectors(config: MLP, size: int, seed: int, dtype: torch.dtype) -> Microbatch:
    """Vectors of no training iteration."""
    return vector_batch(config, size, [seed, NEVER, 0], dtype)
