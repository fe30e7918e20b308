"""A weight gradient put off is the weight gradient, and nothing is computed twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from chimera.executor.modules.deferral import Sink, defer
from chimera.executor.modules.linear import Linear


def _pair(bias: bool = True) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(3)
    plain = nn.Linear(5, 4, bias=bias).double()
    ours = Linear(5, 4, bias=bias).double()
    ours.load_state_dict(plain.state_dict())
    return ours, plain


def _grad(layer: nn.Linear) -> Tensor:
    assert layer.weight.grad is not None
    return layer.weight.grad


def _loss(layer: nn.Linear, inputs: Tensor) -> Tensor:
    return functional.gelu(layer(inputs)).pow(2).sum()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5)])
def test_put_off_weight_gradients_equal_autograds(bias: bool, shape: tuple[int, ...]) -> None:
    ours, plain = _pair(bias)
    sink = Sink()
    defer(nn.Sequential(ours), sink)
    inputs = torch.randn(shape, dtype=torch.float64)
    mine, theirs = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    for _ in range(2):  # the second round adds to gradients that exist
        _loss(ours, mine).backward()
        assert ours.weight.grad is None or torch.allclose(ours.weight.grad, _grad(plain))
        for work in sink.take():
            work.run()
        _loss(plain, theirs).backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=0, atol=1e-12)
    if bias:
        torch.testing.assert_close(ours.bias.grad, plain.bias.grad, rtol=0, atol=1e-12)


def test_input_and_weight_backward_together_cost_one_backward() -> None:
    # A linear layer's backward is two products of the forward's size: 2 * (2 * rows * in * out) FLOPs.
    ours, _ = _pair()
    sink = Sink()
    defer(ours, sink)
    output = ours(torch.randn(3, 5, dtype=torch.float64, requires_grad=True))
    product = 2 * 3 * 5 * 4
    with FlopCounterMode(display=False) as inputs_only:
        output.backward(torch.ones_like(output))
    with FlopCounterMode(display=False) as weights_only:
        for work in sink.take():
            work.run()
    assert (inputs_only.get_total_flops(), weights_only.get_total_flops()) == (product, product)


def test_without_a_sink_it_is_torchs_layer() -> None:
    ours, plain = _pair()
    inputs = torch.randn(3, 5, dtype=torch.float64)
    _loss(ours, inputs).backward()
    _loss(plain, inputs).backward()
    assert torch.equal(_grad(ours), _grad(plain))
