"""Linear layers whose weight gradient can be put off."""

from __future__ import annotations

__all__ = ["Linear"]

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from chimera.executor.modules.deferral import Deferring, as_autocast


class _LinearWork(NamedTuple):
    """See `chimera.executor.modules.deferral.WeightWork`: input [..., in], output gradient [..., out]."""

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


class Linear(nn.Linear, Deferring):
    """torch's linear layer; with a sink it leaves its weight gradient there."""

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if not self.defers:
            return functional.linear(inputs, self.weight, self.bias)
        given = as_autocast((inputs, self.weight, self.bias))
        result: Tensor = _Deferred.apply(*given, self)  # type: ignore[no-untyped-call]
        return result


class _Deferred(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, layer: Linear) -> Tensor:
        """The layer's own; keeps what both halves of the backward need."""
        ctx.save_for_backward(inputs, weight)
        ctx.layer = layer
        return functional.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, None]:
        """The input's gradient; the work for the weight's goes to the sink."""
        inputs, weight = ctx.saved_tensors
        ctx.layer.sink.put(_LinearWork(ctx.layer, inputs.detach(), gradient))
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, None, None
