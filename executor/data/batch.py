"""One micro-batch, and the samples that no training iteration draws."""

from __future__ import annotations

__all__ = ["NEVER", "Microbatch"]

from typing import NamedTuple

from torch import Tensor

NEVER = 1 << 40
"""an iteration that no training reaches: its random samples are held-out ones"""


class Microbatch(NamedTuple):
    """Inputs [B, ...] and targets: [B, S] tokens (GPT, BERT), or [B] classes (CNN, MLP)."""

    inputs: Tensor
    targets: Tensor
