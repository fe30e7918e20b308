"""Weight gradients put off: what splits a backward into I and W.

Source: the Zero-Bubble papers' weight-gradient store (arXiv 2401.10241). The input gradient is
computed by autograd as usual; input and output gradient of each linear or convolution layer are
handed to a sink, and W turns them into weight gradients. Nothing is computed twice. Norms and
embeddings, whose weight gradients are small change, complete theirs in I.
"""

from __future__ import annotations

__all__ = ["Deferring", "Sink", "WeightWork", "as_autocast", "defer"]

from typing import Protocol

import torch
from torch import Tensor, nn


class WeightWork(Protocol):
    """One layer's weight gradient, not yet computed."""

    def run(self) -> None:
        """Adds it to the gradient of the layer."""


class Sink:
    """Collects the weight work of one backward; `wanted` says whether the forward that begins is for a split one."""

    def __init__(self) -> None:
        self._work: list[WeightWork] = []
        self.wanted = True

    def put(self, work: WeightWork) -> None:
        """Adds one layer's work."""
        self._work.append(work)

    def take(self) -> list[WeightWork]:
        """What was collected since the last call."""
        work, self._work = self._work, []
        return work


class Deferring(nn.Module):
    """A layer that leaves its weight gradient in its sink, if it has one."""

    sink: Sink | None = None

    @property
    def defers(self) -> bool:
        """Whether the forward that begins now has to arrange for that."""
        return self.sink is not None and self.sink.wanted and torch.is_grad_enabled()


def as_autocast(given: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """What autocast would do before a product: it does not reach into functions of our own."""
    device = given[0].device.type if given[0] is not None else "cpu"
    if not torch.is_autocast_enabled(device):
        return given
    narrow = torch.get_autocast_dtype(device)
    return tuple(tensor if tensor is None else tensor.to(narrow) for tensor in given)


def defer(module: nn.Module, sink: Sink) -> None:
    """Lets every layer inside `module` that can leave its weight gradients in `sink`."""
    for layer in module.modules():
        if isinstance(layer, Deferring):
            layer.sink = sink
