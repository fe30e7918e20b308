"""What a paced stage sleeps instead of computing."""

from __future__ import annotations

__all__ = ["Pace"]

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Nanoseconds of one stage's actions for a whole micro-batch, and bytes it keeps for one.

    `step_ns` of None runs the real optimizer.
    """

    forward_ns: int
    backward_ns: int
    backward_input_ns: int = 0
    backward_weight_ns: int = 0
    step_ns: int | None = None
    activation_bytes: int = 0
