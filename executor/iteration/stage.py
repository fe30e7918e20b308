"""What one rank computes for one stage: forwards, full, input and weight backwards."""

from __future__ import annotations

__all__ = ["Loss", "RealStage", "StageWork"]

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.checkpoint import checkpoint

from chimera.executor.iteration.inspection import Piece
from chimera.executor.iteration.weights import Version, Weights
from chimera.executor.modules.deferral import Sink, WeightWork

Loss = Callable[[Tensor, Tensor], Tensor]
"""(output, targets) -> mean loss of those samples"""
# No layer draws random numbers (a test says so), so there is no state of a generator to restore.
_CHECKPOINTED = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


class StageWork(Protocol):
    """What the runtime asks of a stage, real or paced."""

    weights: Weights

    def forward(self, pieces: Sequence[Piece], given: Tensor, targets: Tensor | None) -> Tensor:
        """The stage's output for all pieces together, to be sent on."""

    def backward(self, key: tuple[int, int], gradient: Tensor | None, weights: bool) -> Tensor | None:
        """The gradient of the stage's input (None in the first stage); weight gradients too, or later."""

    def backward_weights(self, key: tuple[int, int]) -> None:
        """The weight gradients that a `backward` without weights put off."""

    def step(self) -> None:
        """The optimizer step."""

    def take_loss(self) -> float:
        """The sum of weighted losses since the last call."""


class _Kept(NamedTuple):
    """What a forward leaves for a backward; a pass over several pieces that recompute leaves targets and no edge."""

    version: Version
    given: Tensor
    edge: GradientEdge | None
    share: float
    targets: Tensor | None


class RealStage:
    """A stage that computes. `loss` is given to the last stage only.

    A forward over several pieces (a doubled forward, or one whose backward comes in halves) builds
    one graph a piece, so that each backward costs what its samples cost. With `recompute` a forward
    goes through `torch.utils.checkpoint`, which keeps the stage's input and runs the forward again,
    with the weights it had, when the backward first asks for something it saved. A checkpoint is
    recomputed as a whole, so a pass over several pieces cannot be one: its backwards would each
    compute all of them. It leaves no graph, and each backward runs the forward of its own piece.
    With a `sink` the backwards of the pieces `split` come in two parts; all others cost what they
    cost without it.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        first: bool,
        loss: Loss | None,
        recompute: bool,
        sink: Sink | None,
        split: frozenset[tuple[int, int]] = frozenset(),
    ) -> None:
        self.weights, self._split = weights, split
        self._losses: list[Tensor] = []
        self._first, self._loss, self._recompute, self._sink = first, loss, recompute, sink
        self._kept: dict[tuple[int, int], _Kept] = {}
        self._later: dict[tuple[int, int], tuple[Version, list[WeightWork]]] = {}

    def forward(self, pieces: Sequence[Piece], given: Tensor, targets: Tensor | None) -> Tensor:
        """See StageWork; [rows, ...] -> [rows, ...], or the weighted losses in the last stage."""
        batches = [
            (piece, rows.detach(), wanted)
            for piece, rows, wanted in zip(pieces, _parts(given, pieces), _parts(targets, pieces), strict=True)
            if rows is not None
        ]
        if self._recompute and len(batches) > 1:
            return self._forward_once(batches, given, targets)
        run: Any = partial(_CHECKPOINTED, self._run) if self._recompute else self._run
        outputs = []
        for piece, leaf, wanted in batches:
            version = self.weights.acquire()
            if not self._first:
                leaf.requires_grad_()
            output = run(version, piece.key, leaf, wanted, piece.share)
            # Only the edge into the graph is kept: the output itself can go once it is sent.
            self._kept[piece.key] = _Kept(version, leaf, get_gradient_edge(output), piece.share, None)
            outputs.append(output.detach())
        if self._loss is not None:
            self._losses += outputs
        return outputs[0] if len(outputs) == 1 or self._loss is not None else torch.cat(outputs)

    def backward(self, key: tuple[int, int], gradient: Tensor | None, weights: bool) -> Tensor | None:
        """See StageWork."""
        kept = self._kept.pop(key)
        edge = kept.edge
        if edge is None:
            if not self._first:
                kept.given.requires_grad_()
            edge = get_gradient_edge(self._run(kept.version, key, kept.given, kept.targets, kept.share))
        torch.autograd.backward((edge,), None if gradient is None else (gradient,))
        work = [] if self._sink is None else self._sink.take()
        if weights:
            self._complete(kept.version, work)
        else:
            self._later[key] = kept.version, work
        return kept.given.grad

    def backward_weights(self, key: tuple[int, int]) -> None:
        """See StageWork."""
        self._complete(*self._later.pop(key))

    def step(self) -> None:
        """See StageWork."""
        self.weights.step()

    def take_loss(self) -> float:
        """See StageWork."""
        total = sum(float(loss) for loss in self._losses)
        self._losses.clear()
        return total

    def _forward_once(
        self, batches: list[tuple[Piece, Tensor, Tensor | None]], given: Tensor, targets: Tensor | None
    ) -> Tensor:
        """A forward without a graph over several pieces; each keeps its input for its own recomputation."""
        for piece, leaf, wanted in batches:
            version = self.weights.acquire()
            self._kept[piece.key] = _Kept(version, leaf, None, piece.share, wanted)
        with torch.no_grad():
            output: Tensor = version.module(given)
            if self._loss is not None:
                assert targets is not None
                output = self._loss(output, targets) * sum(piece.share for piece, _, _ in batches)
                self._losses.append(output)
        return output

    def _run(
        self, version: Version, key: tuple[int, int], leaf: Tensor, targets: Tensor | None, share: float
    ) -> Tensor:
        """The forward of one piece; a checkpoint's recomputation comes through here too, so it splits alike."""
        if self._sink is not None:
            self._sink.wanted = key in self._split
        output: Tensor = version.module(leaf)
        if self._loss is None:
            return output
        assert targets is not None
        return self._loss(output, targets) * share

    def _complete(self, version: Version, work: list[WeightWork]) -> None:
        for item in work:
            item.run()
        self.weights.release(version)


def _parts(rows: Tensor | None, pieces: Sequence[Piece]) -> list[Tensor | None]:
    """The rows of each piece."""
    if rows is None or len(pieces) == 1:
        return [rows] * len(pieces)
    return [rows[piece.start : piece.stop] for piece in pieces]
