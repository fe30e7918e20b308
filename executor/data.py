"""Deterministic batches from data that is always there: no download, the same on every machine.

Text is the bytes of the Python standard library's own sources; vectors for the MLP are labelled by
a fixed random teacher. A micro-batch depends on (seed, iteration, global number) alone, so any
schedule, width or placement sees the same mini-batch.
"""

from __future__ import annotations

__all__ = ["Microbatch", "corpus", "microbatch"]

import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.models import GPT, MLP, ModelConfig

_CORPUS_BYTES = 4 << 20


class Microbatch(NamedTuple):
    """Inputs and targets: [B, S] token indices (GPT), or [B, features] and [B] classes (MLP)."""

    inputs: Tensor
    targets: Tensor


@lru_cache(maxsize=1)
def corpus() -> np.ndarray:
    """The first 4 MiB of the standard library's top-level modules, in order of their names; uint8."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    pieces, total = [], 0
    for path in sorted(folder.glob("*.py")):
        pieces.append(path.read_bytes())
        total += len(pieces[-1])
        if total >= _CORPUS_BYTES:
            break
    return np.frombuffer(b"".join(pieces)[:_CORPUS_BYTES], dtype=np.uint8)


def microbatch(
    config: ModelConfig, size: int, *, seed: int, iteration: int, number: int, dtype: torch.dtype = torch.float32
) -> Microbatch:
    """Micro-batch `number` (over all copies of the pipeline) of an iteration, `size` samples."""
    generator = np.random.default_rng([seed, iteration, number])
    if isinstance(config, GPT):
        text = corpus()
        starts = generator.integers(0, len(text) - config.sequence - 1, size=size)
        windows = np.stack([text[start : start + config.sequence + 1] for start in starts]).astype(np.int64)
        windows %= config.vocabulary
        return Microbatch(torch.from_numpy(windows[:, :-1].copy()), torch.from_numpy(windows[:, 1:].copy()))
    assert isinstance(config, MLP)
    teacher = np.random.default_rng([seed, 77]).normal(size=(config.features, config.classes))
    vectors = generator.normal(size=(size, config.features))
    return Microbatch(torch.from_numpy(vectors).to(dtype), torch.from_numpy((vectors @ teacher).argmax(axis=1)))
