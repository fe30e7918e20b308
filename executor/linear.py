"""Linear layers whose weight gradient can be put off: what splits a backward into I and W.

Source: the Zero-Bubble papers' weight-gradient store (arXiv 2401.10241). The input gradient is
computed by autograd as usual; input and output gradient of each linear layer are handed to a sink,
and W turns them into weight gradients. Nothing is computed twice. Norms and embeddings, whose
weight gradients are small change, complete theirs in I.
"""

from __future__ import annotations

__all__ = ["Linear", "Sink", "WeightWork", "defer"]

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class WeightWork(NamedTuple):
    """One linear layer's weight gradient, not yet computed: input [..., in], output gradient [..., out]."""

    layer: Linear
    inputs: Tensor
    gradient: Tensor

    def run(self) -> None:
        """Adds the gradients of weight and bias to those of the layer."""
        gradient = self.gradient.reshape(-1, self.gradient.shape[-1])
        inputs = self.inputs.reshape(-1, self.inputs.shape[-1])
        with torch.no_grad():
            _accumulate(self.layer.weight, gradient.t(), inputs)
            if self.layer.bias is not None:
                total = gradient.sum(0, dtype=self.layer.bias.dtype)
                self.layer.bias.grad = total if self.layer.bias.grad is None else self.layer.bias.grad.add_(total)


def _accumulate(weight: Tensor, left: Tensor, right: Tensor) -> None:
    if weight.grad is None:
        weight.grad = (left @ right).to(weight.dtype)
    elif left.dtype != weight.dtype:
        weight.grad.add_(left @ right)
    else:
        weight.grad.addmm_(left, right)


class Sink:
    """Collects the weight work of one backward."""

    def __init__(self) -> None:
        self._work: list[WeightWork] = []

    def put(self, work: WeightWork) -> None:
        """Adds one layer's work."""
        self._work.append(work)

    def take(self) -> list[WeightWork]:
        """What was collected since the last call."""
        work, self._work = self._work, []
        return work


class Linear(nn.Linear):
    """torch's linear layer; with a sink it leaves its weight gradient there."""

    sink: Sink | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if self.sink is None or not torch.is_grad_enabled():
            return functional.linear(inputs, self.weight, self.bias)
        given = _as_autocast((inputs, self.weight, self.bias))
        result: Tensor = _Deferred.apply(*given, self)  # type: ignore[no-untyped-call]
        return result


def _as_autocast(given: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """What autocast would do before a linear layer: it does not reach into functions of our own."""
    device = given[0].device.type if given[0] is not None else "cpu"
    if not torch.is_autocast_enabled(device):
        return given
    narrow = torch.get_autocast_dtype(device)
    return tuple(tensor if tensor is None else tensor.to(narrow) for tensor in given)


class _Deferred(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, layer: Linear) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.layer = layer
        return functional.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, None]:
        inputs, weight = ctx.saved_tensors
        ctx.layer.sink.put(WeightWork(ctx.layer, inputs.detach(), gradient))
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, None, None


def defer(module: nn.Module, sink: Sink) -> None:
    """Lets every linear layer inside `module` leave its weight gradients in `sink`."""
    for layer in module.modules():
        if isinstance(layer, Linear):
            layer.sink = sink
