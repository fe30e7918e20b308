"""Convolutions whose weight gradient can be put off: one half of torch's own backward at a time."""

from __future__ import annotations

__all__ = ["Convolution"]

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from chimera.executor.modules.deferral import Deferring, as_autocast


class Convolution(nn.Conv2d, Deferring):
    """torch's convolution, square, without bias, padded to keep the image; its weight gradient goes to any sink."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H / stride, W / stride], rounded up."""
        if not self.defers:
            return functional.conv2d(inputs, self.weight, None, self.stride, self.padding)
        given = as_autocast((inputs, self.weight))
        result: Tensor = _Deferred.apply(*given, self)  # type: ignore[no-untyped-call]
        return result


class _ConvolutionWork(NamedTuple):
    """See `chimera.executor.modules.deferral.WeightWork`."""

    layer: Convolution
    inputs: Tensor
    gradient: Tensor

    def run(self) -> None:
        """Adds the gradient of the weight to that of the layer."""
        weight = self.layer.weight
        with torch.no_grad():
            _, gradient = _backward(
                self.layer, self.gradient, self.inputs, weight.to(self.inputs.dtype), of_input=False
            )
            assert gradient is not None
            weight.grad = gradient.to(weight.dtype) if weight.grad is None else weight.grad.add_(gradient)


class _Deferred(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, layer: Convolution) -> Tensor:
        """The layer's own; keeps what both halves of the backward need."""
        ctx.save_for_backward(inputs, weight)
        ctx.layer = layer
        return functional.conv2d(inputs, weight, None, layer.stride, layer.padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        """The input's gradient; the work for the weight's goes to the sink."""
        inputs, weight = ctx.saved_tensors
        ctx.layer.sink.put(_ConvolutionWork(ctx.layer, inputs.detach(), gradient))
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return _backward(ctx.layer, gradient, inputs, weight, of_input=True)[0], None, None


def _backward(
    layer: Convolution, gradient: Tensor, inputs: Tensor, weight: Tensor, *, of_input: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The gradient of the input, or else that of the weight; the weight's shape is what the latter needs of it."""
    wanted = [of_input, not of_input, False]
    gradients: tuple[Tensor | None, Tensor | None, None] = torch.ops.aten.convolution_backward(
        gradient, inputs, weight, None, layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups, wanted
    )
    return gradients[0], gradients[1]
