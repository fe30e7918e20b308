"""Models described once, without torch: a config and its list of layers.

The executor builds torch modules from the same config, so a model of any size can be planned on a
laptop and a test can hold the two parameter counts equal. Counts are per sample: one sequence (GPT,
BERT), one image (CNN) or one vector of features (MLP).
"""

from __future__ import annotations

__all__ = [
    "BERT",
    "CNN",
    "GPT",
    "MLP",
    "Layer",
    "ModelConfig",
    "config_dict",
    "input_bytes",
    "input_shape",
    "layers",
    "model_config",
    "model_names",
]

from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import lru_cache
from math import prod

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.models.bert import BERT, bert_layers
from chimera.pipeline.models.cnn import CNN, cnn_layers
from chimera.pipeline.models.gpt import GPT, gpt_layers
from chimera.pipeline.models.layer import Layer
from chimera.pipeline.models.mlp import MLP, mlp_layers
from chimera.pipeline.models.presets import PRESETS

ModelConfig = GPT | BERT | CNN | MLP
_FAMILIES: dict[object, type[ModelConfig]] = {"gpt": GPT, "bert": BERT, "cnn": CNN, "mlp": MLP}
_INDEX_BYTES, _FEATURE_BYTES = 8, 4


def model_names() -> tuple[str, ...]:
    """The names of the models that ship with the project."""
    return tuple(PRESETS)


def model_config(model: str | Mapping[str, object] | ModelConfig) -> ModelConfig:
    """The config of a shipped model's name, of a dict as `config_dict` writes it, or itself.

    Raises UnknownNameError for a name that is not shipped, InputError for a dict that does not fit.
    """
    if isinstance(model, ModelConfig):
        return model
    if isinstance(model, str):
        if model not in PRESETS:
            raise UnknownNameError("model", model, PRESETS)
        return PRESETS[model]
    return _from_dict(model)


def _from_dict(model: Mapping[str, object]) -> ModelConfig:
    family = model.get("family")
    if family not in _FAMILIES:
        raise UnknownNameError("model family", str(family), [str(name) for name in _FAMILIES])
    kind = _FAMILIES[family]
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


@lru_cache(maxsize=64)
def layers(config: ModelConfig) -> tuple[Layer, ...]:
    """The layers of a model in order: what a partition cuts into stages."""
    match config:
        case GPT():
            return gpt_layers(config)
        case BERT():
            return bert_layers(config)
        case CNN():
            return cnn_layers(config)
        case MLP():
            return mlp_layers(config)


def input_shape(config: ModelConfig) -> tuple[int, ...]:
    """The shape of one sample as it enters the first layer."""
    match config:
        case GPT() | BERT():
            return (config.sequence,)
        case CNN():
            return (config.colours, config.image, config.image)
        case MLP():
            return (config.features,)


def input_bytes(config: ModelConfig) -> int:
    """Bytes of one sample as it enters the first layer: token indices, or features in float32."""
    return prod(input_shape(config)) * (_INDEX_BYTES if isinstance(config, GPT | BERT) else _FEATURE_BYTES)
