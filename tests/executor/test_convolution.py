"""A convolution's weight gradient put off is the weight gradient, and nothing is computed twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from chimera.executor.modules.convolution import Convolution
from chimera.executor.modules.deferral import Sink, defer


def _pair(kernel: int = 3, stride: int = 1) -> tuple[Convolution, nn.Conv2d]:
    torch.manual_seed(3)
    plain = nn.Conv2d(3, 4, kernel, stride=stride, padding=kernel // 2, bias=False).double()
    ours = Convolution(3, 4, kernel, stride).double()
    ours.load_state_dict(plain.state_dict())
    return ours, plain


def _loss(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    return functional.relu(layer(inputs)).pow(2).sum()


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 6), (3, 2, 6), (3, 2, 7), (1, 1, 5), (1, 2, 7)])
def test_put_off_weight_gradients_equal_autograds(kernel: int, stride: int, side: int) -> None:
    ours, plain = _pair(kernel, stride)
    sink = Sink()
    defer(nn.Sequential(ours), sink)
    inputs = torch.randn(2, 3, side, side, dtype=torch.float64)
    mine, theirs = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    for _ in range(2):  # the second round adds to gradients that exist
        before = None if ours.weight.grad is None else ours.weight.grad.clone()
        _loss(ours, mine).backward()
        assert ours.weight.grad is before is None or torch.equal(ours.weight.grad, before)  # type: ignore[arg-type]
        for work in sink.take():
            work.run()
        _loss(plain, theirs).backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=0, atol=1e-12)


def test_input_and_weight_backward_together_cost_one_backward() -> None:
    # A convolution's backward is two convolutions with the forward's FLOPs: 2 * batch * pixels * in * out * 3 * 3.
    ours, _ = _pair()
    sink = Sink()
    defer(ours, sink)
    output = ours(torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True))
    forward = 2 * 2 * 36 * 3 * 4 * 9
    with FlopCounterMode(display=False) as inputs_only:
        output.backward(torch.ones_like(output))
    with FlopCounterMode(display=False) as weights_only:
        for work in sink.take():
            work.run()
    assert (inputs_only.get_total_flops(), weights_only.get_total_flops()) == (forward, forward)


def test_the_first_layer_computes_no_gradient_of_the_images() -> None:
    ours, _ = _pair()
    sink = Sink()
    defer(ours, sink)
    output = ours(torch.randn(2, 3, 6, 6, dtype=torch.float64))
    with FlopCounterMode(display=False) as counter:
        output.backward(torch.ones_like(output))
    assert counter.get_total_flops() == 0 and len(sink.take()) == 1
