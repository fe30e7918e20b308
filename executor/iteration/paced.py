"""A stage that sleeps for the calibrated time instead of computing: for more ranks than cores.

Messages, all-reduces, order and the memory of activations stay real; the mathematics does not
happen. Results of such runs are labelled "paced" and never reported as real.
"""

from __future__ import annotations

__all__ = ["PacedStage", "pause_until"]

import ctypes
import sys
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from chimera.executor.iteration.inspection import Piece
from chimera.executor.iteration.weights import Weights
from chimera.executor.jobs.pace import Pace

_SPIN_NS = 150_000
_PR_SET_TIMERSLACK = 29


def pause_until(deadline_ns: int) -> None:
    """Sleeps until a moment of the monotonic clock; spins the last 0.15 ms, since sleeping oversleeps."""
    remaining = deadline_ns - time.monotonic_ns() - _SPIN_NS
    if remaining > 0:
        time.sleep(remaining / 1e9)
    while time.monotonic_ns() < deadline_ns:
        pass


class PacedStage:
    """See `chimera.executor.iteration.stage.StageWork`.

    `given` and `output` are the shapes of one sample as it enters and leaves the stage, `given` of None that of the
    first one, which has no gradient to send; `dtype` is that of messages.
    """

    def __init__(
        self,
        weights: Weights,
        pace: Pace,
        *,
        rows: int,
        given: tuple[int, ...] | None,
        output: tuple[int, ...],
        recompute: bool,
        dtype: torch.dtype,
    ) -> None:
        self.weights, self._dtype = weights, dtype
        self._pace, self._rows, self._given, self._output = pace, rows, given, output
        self._recompute = recompute
        self._kept: dict[tuple[int, int], tuple[int, Tensor]] = {}
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)

    def forward(self, pieces: Sequence[Piece], given: Tensor, targets: Tensor | None) -> Tensor:
        """Sleeps a forward's time for its rows and keeps a buffer of the activations' size."""
        started = time.monotonic_ns()
        kept = 0 if self._recompute else self._pace.activation_bytes
        for piece in pieces:
            rows = piece.stop - piece.start
            self._kept[piece.key] = rows, torch.empty(kept * rows // self._rows, dtype=torch.uint8)
        total = pieces[-1].stop - pieces[0].start
        output = self._zeros(given, total, self._output)
        self._pause(started, self._pace.forward_ns, total)
        return output

    def backward(self, key: tuple[int, int], gradient: Tensor | None, weights: bool) -> Tensor | None:
        """Sleeps a full or an input backward's time."""
        started = time.monotonic_ns()
        rows, kept = self._kept.pop(key)
        if not weights:
            self._kept[key] = rows, kept[:0]
        duration = self._pace.backward_ns if weights else self._pace.backward_input_ns
        if self._recompute:
            duration += self._pace.forward_ns
        result = None if self._given is None else self._zeros(self.weights.gradient, rows, self._given)
        self._pause(started, duration, rows)
        return result

    def backward_weights(self, key: tuple[int, int]) -> None:
        """Sleeps a weight backward's time."""
        started = time.monotonic_ns()
        rows, _ = self._kept.pop(key)
        self._pause(started, self._pace.backward_weight_ns, rows)

    def step(self) -> None:
        """Sleeps the optimizer's time, or runs it if none is given; the first one is real, for the state it makes."""
        if self._pace.step_ns is None or not self.weights.optimizer.state:
            self.weights.step()
        else:
            pause_until(time.monotonic_ns() + self._pace.step_ns)

    def take_loss(self) -> float:
        """There is no loss."""
        return 0.0

    def _zeros(self, beside: Tensor, rows: int, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros((rows, *shape), dtype=self._dtype, device=beside.device)

    def _pause(self, started: int, duration: int, rows: int) -> None:
        pause_until(started + duration * rows // self._rows)
