"""The modules are the models that `chimera.pipeline.models` describes: torch counts what the config counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from chimera.executor.data import microbatch
from chimera.executor.modules import Output, build_layers, loss_of, stage_module
from chimera.pipeline.models import BERT, CNN, GPT, MLP, ModelConfig, input_shape, layers, model_config, model_names

SMALL: list[ModelConfig] = [
    GPT("small", blocks=3, hidden=16, heads=2, sequence=8, vocabulary=256),
    GPT("more-positions", blocks=2, hidden=8, heads=1, sequence=8, vocabulary=300, positions=20),
    BERT("small", blocks=2, hidden=16, heads=2, sequence=9, vocabulary=259),
    BERT("more-positions", blocks=2, hidden=8, heads=1, sequence=12, vocabulary=50, positions=20),
    CNN("small", blocks=3, sizes=2, channels=8, groups=4, image=8, colours=1, classes=10),
    CNN("odd-sizes", blocks=4, sizes=3, channels=4, groups=2, image=7, colours=3, classes=12),
    MLP("small", blocks=3, hidden=8, features=5, classes=3),
]


def _id(config: ModelConfig) -> str:
    return f"{config.family}-{config.name}"


def _sample(config: ModelConfig, device: str = "cpu") -> Tensor:
    dtype = torch.int64 if isinstance(config, GPT | BERT) else torch.float32
    return torch.zeros((1, *input_shape(config)), dtype=dtype, device=device)


@pytest.mark.parametrize("name", model_names())
def test_torch_counts_the_parameters_and_the_flops_that_the_config_counts(name: str) -> None:
    # On the meta device, where 175 billion parameters take no memory; torch's own FLOP counter.
    config = model_config(name)
    described = layers(config)
    # Of layers that are described alike, one is enough.
    distinct = {replace(item, name=""): index for index, item in enumerate(described)}
    for index in distinct.values():
        with torch.device("meta"):
            (layer,) = build_layers(config, [index], seed=0)
        entering = (
            torch.zeros((1, *described[index - 1].boundary_shape), device="meta") if index else _sample(config, "meta")
        )
        with FlopCounterMode(display=False) as counter:
            layer(entering)
        assert sum(p.numel() for p in layer.parameters()) == described[index].parameters
        assert counter.get_total_flops() == described[index].forward_flops


@pytest.mark.parametrize("config", SMALL, ids=_id)
def test_outputs_have_the_described_shape(config: ModelConfig) -> None:
    given: Output = microbatch(config, 2, seed=0, iteration=0, number=0).inputs
    described = layers(config)
    for layer, item in zip(build_layers(config, range(len(described)), seed=0), described, strict=True):
        given = layer(given)
        leaving = given if isinstance(given, Tensor) else given[0]  # BERT's order of segments stands beside
        assert leaving.shape == (2, *item.boundary_shape)
        assert leaving.numel() == 2 * item.boundary_elements


def _saved_elements(work: Callable[[], object], known: list[Tensor]) -> int:
    """Elements of all storages that autograd keeps for the backward of `work`, but for those of known tensors."""
    passed_over = {tensor.untyped_storage().data_ptr() for tensor in known}
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []  # or an address would be used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in passed_over and tensor.numel():
            sizes[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
            kept.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        kept.append(work())  # type: ignore[arg-type]
    return sum(sizes.values())


@pytest.mark.parametrize("config", SMALL, ids=_id)
def test_autograd_keeps_the_elements_that_the_config_counts(config: ModelConfig) -> None:
    # For one sample. What the loss is given (targets) and its sum of weights (one number a loss) are
    # nobody's activation.
    batch = microbatch(config, 1, seed=0, iteration=0, number=0)
    described, given = layers(config), batch.inputs
    losses = {"gpt": 1, "bert": 2, "cnn": 1, "mlp": 1}[config.family]
    found = []
    for index, layer in enumerate(build_layers(config, range(len(described)), seed=0)):
        entering = given.detach().requires_grad_() if given.is_floating_point() else given
        if index < len(described) - 1:
            found.append(_saved_elements(lambda: layer(entering), list(layer.parameters())))  # noqa: B023
            given = layer(given)
            continue
        output = layer(entering)
        of_layer = _saved_elements(lambda: layer(entering), list(layer.parameters()))  # noqa: B023
        of_loss = _saved_elements(lambda: loss_of(config, output, batch.targets), [batch.targets])  # noqa: B023
        targets = batch.targets.numel() if config.family == "bert" else 0  # masked in a copy
        found.append(of_layer + of_loss - targets - losses)
    assert found == [item.activation_elements for item in described]


@pytest.mark.parametrize("config", [SMALL[4], SMALL[2]], ids=_id)
def test_a_sample_does_not_depend_on_its_neighbours(config: ModelConfig) -> None:
    model = stage_module(config, range(len(layers(config)) - 1), seed=0).double()
    inputs = microbatch(config, 4, seed=0, iteration=0, number=0, dtype=torch.float64).inputs
    torch.testing.assert_close(model(inputs)[:2], model(inputs[:2]), rtol=0, atol=1e-12)


def test_a_layer_starts_equal_wherever_it_is_built() -> None:
    config = SMALL[0]
    (alone,) = build_layers(config, [2], seed=7)
    within = stage_module(config, range(1, 4), seed=7)[1]
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), within.parameters(), strict=True))
    (other,) = build_layers(config, [2], seed=8)
    assert not torch.equal(alone.get_parameter("qkv.weight"), other.get_parameter("qkv.weight"))


def _changed_at_the_end(config: GPT | BERT) -> tuple[Output, Output]:
    """Outputs for tokens, and for the same but for the last one."""
    model = stage_module(config, range(len(layers(config))), seed=0).double()
    tokens = microbatch(config, 1, seed=0, iteration=0, number=0).inputs
    changed = tokens.clone()
    changed[0, -1] = (changed[0, -1] + 1) % config.vocabulary
    return model(tokens), model(changed)


def test_the_decoder_does_not_look_ahead() -> None:
    config = SMALL[0]
    assert isinstance(config, GPT)
    before, after = _changed_at_the_end(config)
    assert torch.equal(before[0][:-1], after[0][:-1])


def test_the_encoder_sees_everything_from_everywhere() -> None:
    config = SMALL[2]
    assert isinstance(config, BERT)
    before, after = _changed_at_the_end(config)
    assert not torch.isclose(before[0], after[0]).all(-1).any() and not torch.equal(before[1], after[1])


# Uniform guessing: ln(256) = 5.545, ln(259) + ln(2) = 6.25, ln(10) = 2.303; random logits add about half of their
# variance,
# and masked tokens, which look alike, err alike.
@pytest.mark.parametrize(("name", "guessing"), [("gpt-tiny", 5.545), ("bert-tiny", 6.250), ("cnn-tiny", 2.303)])
def test_an_untrained_models_loss_is_about_that_of_guessing(name: str, guessing: float) -> None:
    config = model_config(name)
    batch = microbatch(config, 4, seed=0, iteration=0, number=0)
    model = stage_module(config, range(len(layers(config))), seed=0)
    loss = loss_of(config, model(batch.inputs), batch.targets).detach()
    assert float(loss) == pytest.approx(guessing, abs=1)
