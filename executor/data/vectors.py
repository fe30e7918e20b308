"""Random vectors labelled by a fixed random linear teacher."""

from __future__ import annotations

__all__ = ["draw_vectors"]

import numpy as np
import torch

from chimera.executor.data.batch import Draw, Microbatch

_TEACHER = 77


def draw_vectors(features: int, classes: int, draw: Draw) -> Microbatch:
    """[B, features] and [B] classes."""
    generator = np.random.default_rng(draw.key)
    teacher = np.random.default_rng([draw.seed, _TEACHER]).normal(size=(features, classes))
    vectors = generator.normal(size=(draw.size, features))
    return Microbatch(torch.from_numpy(vectors).to(draw.dtype), torch.from_numpy((vectors @ teacher).argmax(axis=1)))
