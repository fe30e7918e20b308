"""Models described once, without torch: a config and its list of layers.

The executor builds torch modules from the same config, so a model of any size can be planned on a
laptop and a test can hold the two parameter counts equal. Counts are per sample: one sequence (GPT,
BERT), one image (CNN) or one vector of features (MLP). Each family is a record: see `family`.
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
from chimera.pipeline.models.bert import BERT
from chimera.pipeline.models.cnn import CNN
from chimera.pipeline.models.family import ModelConfig, families, family_named, family_of
from chimera.pipeline.models.gpt import GPT
from chimera.pipeline.models.layer import Layer
from chimera.pipeline.models.mlp import MLP


def _presets() -> dict[str, ModelConfig]:
    return {config.name: config for family in families() for config in family.presets}


def model_names() -> tuple[str, ...]:
    """The names of the models that ship with the project."""
    return tuple(_presets())


def model_config(model: str | Mapping[str, object] | ModelConfig) -> ModelConfig:
    """The config of a shipped model's name, of a dict as `config_dict` writes it, or itself.

    Raises UnknownNameError for a name that is not shipped, InputError for a dict that does not fit.
    """
    if isinstance(model, ModelConfig):
        return model
    if isinstance(model, str):
        presets = _presets()
        if model not in presets:
            raise UnknownNameError("model", model, presets)
        return presets[model]
    return _from_dict(model)


def _from_dict(model: Mapping[str, object]) -> ModelConfig:
    kind: type[ModelConfig] = family_named(model.get("family")).config
    known = {"family", *(item.name for item in fields(kind))}
    wrong = set(model) - known
    if wrong:
        raise UnknownNameError(f"field of a {model['family']} model", min(wrong), known)
    try:
        return kind(**{key: value for key, value in model.items() if key != "family"})  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"model {dict(model)!r}", str(error), f"give {', '.join(sorted(known))}") from error


def config_dict(config: ModelConfig) -> dict[str, object]:
    """The config as a JSON-able dict; `model_config` reads it back."""
    return asdict(config) | {"family": config.family}


@lru_cache(maxsize=64)
def layers(config: ModelConfig) -> tuple[Layer, ...]:
    """The layers of a model in order: what a partition cuts into stages."""
    return family_of(config).layers(config)


def input_shape(config: ModelConfig) -> tuple[int, ...]:
    """The shape of one sample as it enters the first layer."""
    return family_of(config).input_shape(config)


def input_bytes(config: ModelConfig) -> int:
    """Bytes of one sample as it enters the first layer: token indices, or features in float32."""
    return prod(input_shape(config)) * family_of(config).element_bytes
