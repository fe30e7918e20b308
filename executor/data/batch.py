"""One micro-batch, which one it is, and the samples that no training iteration draws."""

from __future__ import annotations

__all__ = ["IGNORED", "NEVER", "Draw", "Microbatch"]

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

NEVER = 1 << 40
"""an iteration that no training reaches: its random samples are held-out ones"""
IGNORED = -100
"""the target of a token that is not to be predicted (torch's default)"""


class Microbatch(NamedTuple):
    """Inputs [B, ...] and targets: [B, S] tokens (GPT, BERT), or [B] classes (CNN, MLP)."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True, slots=True)
class Draw:
    """Which micro-batch: `number` of the `count` of an iteration over all copies of the pipeline, of `size` samples."""

    size: int
    seed: int
    iteration: int = NEVER
    number: int = 0
    count: int = 1
    dtype: torch.dtype = torch.float32

    @property
    def key(self) -> list[int]:
        """What seeds the generator of random samples."""
        return [self.seed, self.iteration, self.number]

    @property
    def numbers(self) -> range:
        """Its samples, counted from the first one of the training."""
        first = (self.iteration * self.count + self.number) * self.size
        return range(first, first + self.size)
