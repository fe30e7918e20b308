"""A model family: one record, registered under its name like a schedule.

Adding a family takes one file here (config, layers, presets, in `pipeline/models/NAME.py`) and one of the
same name in `executor/modules`, which has what needs torch. Nothing else knows which families there are.
"""

from __future__ import annotations

__all__ = ["Family", "ModelConfig", "families", "family_named", "family_of", "register"]

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Generic, TypeVar

from chimera.pipeline.errors import UnknownNameError
from chimera.pipeline.models.layer import Layer
from chimera.pipeline.units import FLOAT32_BYTES

_LISTED_FIRST = ("gpt", "bert", "cnn", "mlp")
"""where models are listed; other families follow by name"""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What a model of any family has: a name. A family's own config is a frozen dataclass that adds its numbers."""

    name: str

    @property
    def family(self) -> str:
        """The name of the family it belongs to."""
        return family_of(self).name


C = TypeVar("C", bound=ModelConfig)


def _unchanged(config: C) -> C:
    return config


@dataclass(frozen=True, slots=True)
class Family(Generic[C]):
    """What is known of a family without torch; its other half is `chimera.executor.modules.family.TorchFamily`.

    `layers` are the layers of a config in order, `input_shape` the shape of one sample as it enters the
    first. `narrow` gives a config with the same layers, but few numbers in each, that a single process can
    hold and check in float64.
    """

    name: str
    config: type[C]
    layers: Callable[[C], tuple[Layer, ...]]
    input_shape: Callable[[C], tuple[int, ...]]
    element_bytes: int = FLOAT32_BYTES
    """of one element of a sample: 8 for a token's index, 4 for a feature"""
    narrow: Callable[[C], C] = _unchanged
    presets: tuple[C, ...] = ()
    """the models that ship with the project"""


_FAMILIES: dict[str, Family[Any]] = {}


def register(family: Family[C]) -> Family[C]:
    """Makes a family known by its name and by the type of its configs.

    Every module in this folder is imported on first use, so that a new family needs no list.
    """
    assert family.name not in _FAMILIES, f"model family {family.name} is registered twice"
    _FAMILIES[family.name] = family
    return family


def families() -> tuple[Family[Any], ...]:
    """Every registered family."""
    _import_families()
    others = sorted(set(_FAMILIES) - set(_LISTED_FIRST))
    return tuple(_FAMILIES[name] for name in (*_LISTED_FIRST, *others))


@cache
def _import_families() -> None:
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")


def family_named(name: object) -> Family[Any]:
    """The family of a name. Raises UnknownNameError for a name that no family has."""
    known = {family.name: family for family in families()}
    if name not in known:
        raise UnknownNameError("model family", str(name), known)
    return known[str(name)]


def family_of(config: C) -> Family[C]:
    """The family that a config belongs to. Raises UnknownNameError for a config of none."""
    for family in _FAMILIES.values():
        if family.config is type(config):
            return family
    raise UnknownNameError("model family", type(config).__name__, _FAMILIES)
