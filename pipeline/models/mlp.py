"""Stacks of equal linear layers, for studies where every stage should cost the same."""

from __future__ import annotations

__all__ = ["MLP", "mlp_layers"]

from dataclasses import dataclass
from typing import Literal

from chimera.pipeline.models.layer import Layer, LayerKind


@dataclass(frozen=True, slots=True)
class MLP:
    """Linear layers with GELU between them: [features] -> [classes]."""

    name: str
    blocks: int
    hidden: int
    features: int
    classes: int
    family: Literal["mlp"] = "mlp"


def mlp_layers(config: MLP) -> tuple[Layer, ...]:
    """An input layer, `blocks` hidden ones and an output layer.

    Kept for the backward: the input, and what GELU or the loss sees.
    """

    def _linear(name: str, kind: LayerKind, inputs: int, outputs: int) -> Layer:
        return Layer(name, kind, inputs * outputs + outputs, 2 * inputs * outputs, inputs + outputs, (outputs,))

    hidden = tuple(_linear(f"hidden-{index}", "hidden", config.hidden, config.hidden) for index in range(config.blocks))
    first = _linear("input", "input", config.features, config.hidden)
    return (first, *hidden, _linear("output", "output", config.hidden, config.classes))
