"""The modules are the models that `pipeline.models` describes."""

from __future__ import annotations

import pytest
import torch

from executor.data import corpus, microbatch
from executor.modules import boundary_shape, build_layers, loss_of, stage_module
from pipeline.models import GPT, MLP, ModelConfig, layers, model_config

SMALL = [
    GPT("small", blocks=3, hidden=16, heads=2, sequence=8, vocabulary=256),
    GPT("more-positions", blocks=2, hidden=8, heads=1, sequence=8, vocabulary=300, positions=20),
    MLP("small", blocks=3, hidden=8, features=5, classes=3),
]
SHIPPED = [model_config(name) for name in ("gpt-tiny", "gpt-mini", "mlp-tiny")]


@pytest.mark.parametrize("config", SMALL + SHIPPED, ids=lambda config: f"{config.family}-{config.name}")
def test_torch_counts_the_parameters_that_the_config_counts(config: ModelConfig) -> None:
    described = layers(config)
    built = build_layers(config, range(len(described)), seed=0)
    assert [sum(p.numel() for p in layer.parameters()) for layer in built] == [item.parameters for item in described]


@pytest.mark.parametrize("config", SMALL, ids=lambda config: f"{config.family}-{config.name}")
def test_outputs_have_the_described_size_and_the_stated_shape_where_stages_meet(config: ModelConfig) -> None:
    given = microbatch(config, 2, seed=0, iteration=0, number=0).inputs
    described = layers(config)
    for layer, item in zip(build_layers(config, range(len(described)), seed=0), described, strict=True):
        given = layer(given)
        assert given.numel() == 2 * item.boundary_elements
        if item is not described[-1]:
            assert given.shape == (2, *boundary_shape(config))


def test_a_layer_starts_equal_wherever_it_is_built() -> None:
    config = SMALL[0]
    (alone,) = build_layers(config, [2], seed=7)
    within = stage_module(config, range(1, 4), seed=7)[1]
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), within.parameters(), strict=True))
    (other,) = build_layers(config, [2], seed=8)
    assert not torch.equal(alone.qkv.weight, other.qkv.weight)


def test_the_decoder_does_not_look_ahead() -> None:
    config = SMALL[0]
    model = stage_module(config, range(len(layers(config))), seed=0).double()
    tokens = microbatch(config, 1, seed=0, iteration=0, number=0).inputs
    changed = tokens.clone()
    changed[0, -1] = (changed[0, -1] + 1) % config.vocabulary
    assert torch.equal(model(tokens)[0, :-1], model(changed)[0, :-1])


def test_an_untrained_models_loss_is_about_the_logarithm_of_the_vocabulary() -> None:
    # Uniform guessing: ln(256) = 5.545; random logits add about half their variance.
    config = model_config("gpt-tiny")
    batch = microbatch(config, 4, seed=0, iteration=0, number=0)
    model = stage_module(config, range(len(layers(config))), seed=0)
    loss = loss_of(config, model(batch.inputs), batch.targets).detach()
    assert float(loss) == pytest.approx(5.545, abs=0.5)


def test_a_microbatch_depends_on_its_number_alone() -> None:
    config = SMALL[0]
    first = microbatch(config, 3, seed=1, iteration=2, number=3)
    assert torch.equal(first.inputs, microbatch(config, 3, seed=1, iteration=2, number=3).inputs)
    assert not torch.equal(first.inputs, microbatch(config, 3, seed=1, iteration=2, number=4).inputs)
    assert torch.equal(first.inputs[:, 1:], first.targets[:, :-1])


def test_the_text_is_pythons_own_source() -> None:
    # The alphabetically first module of the standard library with a fixed opening line.
    text = bytes(corpus())
    assert len(text) == 4 << 20
    assert b"from __future__ import" in text and b"def " in text
