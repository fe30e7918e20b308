"""Models described once, without torch: a config and its list of layers.

The executor builds torch modules from the same config, so a model of any size can be planned on a
laptop and a test can hold the two parameter counts equal. Counts are per sample; a sample is one
sequence (GPT) or one feature vector (MLP). Activation figures assume float32 and no dropout.
"""

from __future__ import annotations

__all__ = ["GPT", "MLP", "Layer", "ModelConfig", "config_dict", "layers", "model_config", "model_names"]

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal

from pipeline.errors import InputError, UnknownNameError

LayerKind = Literal["embedding", "block", "head", "input", "hidden", "output"]


@dataclass(frozen=True, slots=True)
class GPT:
    """A decoder-only transformer: embeddings, pre-norm blocks, final norm and an untied head."""

    name: str
    blocks: int
    hidden: int
    heads: int
    sequence: int
    vocabulary: int
    positions: int = 0
    """rows of the position embedding; 0 means `sequence`"""
    family: Literal["gpt"] = "gpt"


@dataclass(frozen=True, slots=True)
class MLP:
    """A stack of equal linear layers with GELU, for studies where every stage should cost the same."""

    name: str
    blocks: int
    hidden: int
    features: int
    classes: int
    family: Literal["mlp"] = "mlp"


ModelConfig = GPT | MLP


@dataclass(frozen=True, slots=True)
class Layer:
    """One indivisible piece of a model; figures are for one sample.

    `forward_flops` counts a multiply-add as two; `activation_elements` is what autograd keeps for
    the backward; `boundary_elements` is the layer's output.
    """

    name: str
    kind: LayerKind
    parameters: int
    forward_flops: int
    activation_elements: int
    boundary_elements: int


_PRESETS: dict[str, ModelConfig] = {
    model.name: model
    for model in (
        GPT("gpt-tiny", blocks=8, hidden=128, heads=4, sequence=128, vocabulary=256),
        GPT("gpt-mini", blocks=12, hidden=256, heads=8, sequence=128, vocabulary=256),
        GPT("gpt-2-small", blocks=12, hidden=768, heads=12, sequence=1024, vocabulary=50257),
        # Chimera paper, section 4: "GPT-2" of 64 layers, and its 32-layer variant
        GPT("gpt-2-32", blocks=32, hidden=1280, heads=20, sequence=632, vocabulary=50257, positions=1024),
        GPT("gpt-2-64", blocks=64, hidden=1280, heads=20, sequence=632, vocabulary=50257, positions=1024),
        MLP("mlp-tiny", blocks=8, hidden=512, features=64, classes=10),
        MLP("mlp-wide", blocks=16, hidden=2048, features=256, classes=10),
    )
}


def model_names() -> tuple[str, ...]:
    """The names of the models that ship with the project."""
    return tuple(_PRESETS)


def model_config(model: str | Mapping[str, object] | ModelConfig) -> ModelConfig:
    """The config of a shipped model's name, of a dict as `config_dict` writes it, or itself.

    Raises UnknownNameError for a name that is not shipped, InputError for a dict that does not fit.
    """
    if isinstance(model, GPT | MLP):
        return model
    if isinstance(model, str):
        if model not in _PRESETS:
            raise UnknownNameError("model", model, _PRESETS)
        return _PRESETS[model]
    families: dict[object, type[GPT | MLP]] = {"gpt": GPT, "mlp": MLP}
    family = model.get("family")
    if family not in families:
        raise UnknownNameError("model family", str(family), [str(name) for name in families])
    kind = families[family]
    known = {item.name for item in fields(kind)}
    wrong = set(model) - known
    if wrong:
        raise UnknownNameError(f"field of a {family} model", min(wrong), known)
    try:
        return kind(**model)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"model {dict(model)!r}", str(error), f"give {', '.join(sorted(known))}") from error


def config_dict(config: ModelConfig) -> dict[str, object]:
    """The config as a JSON-able dict; `model_config` reads it back."""
    return asdict(config)


def layers(config: ModelConfig) -> tuple[Layer, ...]:
    """The layers of a model in order: what a partition cuts into stages."""
    return _gpt_layers(config) if isinstance(config, GPT) else _mlp_layers(config)


def _gpt_layers(config: GPT) -> tuple[Layer, ...]:
    h, s, vocabulary = config.hidden, config.sequence, config.vocabulary
    positions = config.positions or s
    embedding = Layer("embedding", "embedding", (vocabulary + positions) * h, 0, 2 * s, s * h)
    # Attention: qkv 3h^2+3h, projection h^2+h; MLP: 8h^2+5h; two norms: 4h. Products with the scores: 4 s^2 h.
    # Kept for the backward, per token: two norms' inputs and outputs, qkv, attention's output,
    # the MLP's hidden layer before and after GELU; and per head the softmax's normaliser.
    block_elements = s * (4 * h + 3 * h + h + 8 * h + config.heads + 4)
    block_flops = 24 * s * h * h + 4 * s * s * h
    blocks = tuple(
        Layer(f"block-{index}", "block", 12 * h * h + 13 * h, block_flops, block_elements, s * h)
        for index in range(config.blocks)
    )
    head_elements = s * (2 * h + 2 + vocabulary)
    head = Layer("head", "head", 2 * h + h * vocabulary, 2 * s * h * vocabulary, head_elements, s * vocabulary)
    return (embedding, *blocks, head)


def _mlp_layers(config: MLP) -> tuple[Layer, ...]:
    def linear(name: str, kind: LayerKind, inputs: int, outputs: int) -> Layer:
        return Layer(name, kind, inputs * outputs + outputs, 2 * inputs * outputs, inputs + outputs, outputs)

    hidden = tuple(
        linear(f"hidden-{index}", "hidden", config.hidden, config.hidden) for index in range(config.blocks)
    )
    first = linear("input", "input", config.features, config.hidden)
    return (first, *hidden, linear("output", "output", config.hidden, config.classes))
