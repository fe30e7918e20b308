"""Images and their classes, as they are read."""

from __future__ import annotations

__all__ = ["ImageSet", "Images"]

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ImageSet(NamedTuple):
    """`inputs` uint8 [n, colours, height, width], `labels` int64 [n]."""

    inputs: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """What is trained on, and what is kept for scoring."""

    train: ImageSet
    held_out: ImageSet

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return int(max(self.train.labels.max(), self.held_out.labels.max())) + 1

    @cached_property
    def mean(self) -> float:
        """Of all pixels trained on."""
        return float(self.train.inputs.mean())

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of all pixels trained on; 1 if they are all alike."""
        counts = np.bincount(self.train.inputs.reshape(-1), minlength=256)
        variance = float((counts * (np.arange(256) - self.mean) ** 2).sum() / counts.sum())
        return variance**0.5 or 1.0
