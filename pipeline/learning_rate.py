"""The learning rate of every step: a warm-up, then constant or decaying to zero."""

from __future__ import annotations

__all__ = ["DECAYS", "LearningRate"]

import math
from dataclasses import dataclass

from chimera.pipeline.errors import InputError, UnknownNameError

DECAYS = ("constant", "linear", "cosine")


@dataclass(frozen=True, slots=True)
class LearningRate:
    """A pure function of the step, so that a run that is resumed needs to remember nothing of it.

    Steps count from 0. The first `warmup` steps rise linearly, the last of them to `peak`; the rest
    of `steps` decay from there towards zero, which step `steps` itself would reach: linearly, or as
    half a cosine (arXiv 1608.03983, one period). `steps` says nothing where the rate is constant.
    Raises UnknownNameError for another decay, InputError for steps that do not fit.
    """

    peak: float
    decay: str = "constant"
    warmup: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise UnknownNameError("decay of the learning rate", self.decay, DECAYS)
        if not self.peak > 0 or not math.isfinite(self.peak):
            raise InputError(f"a learning rate of {self.peak}", "teaches nothing", "give a number above 0")
        if self.warmup < 0 or (self.decay != "constant" and self.steps <= self.warmup):
            raise InputError(
                f"{self.warmup} steps of warm-up and {self.steps} in all",
                f"leave none for a {self.decay} decay" if self.warmup >= 0 else "cannot be counted",
                "warm up for less, or train for more steps",
            )

    def at(self, step: int) -> float:
        """The rate that `step` uses; past the last step it stays at zero."""
        return self.peak * self.factor(step)

    def factor(self, step: int) -> float:
        """The rate as a part of its peak, 0 to 1."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.decay == "constant":
            return 1.0
        done = min((step - self.warmup) / (self.steps - self.warmup), 1.0)
        return 1.0 - done if self.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
