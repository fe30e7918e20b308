"""Stacks of equal linear layers, for studies where every stage should cost the same."""

from __future__ import annotations

__all__ = ["FAMILY", "MLP", "mlp_layers"]

from dataclasses import dataclass, replace

from chimera.pipeline.models.family import Family, ModelConfig, register
from chimera.pipeline.models.layer import Layer


@dataclass(frozen=True, slots=True)
class MLP(ModelConfig):
    """Linear layers with GELU between them: [features] -> [classes]."""

    blocks: int
    hidden: int
    features: int
    classes: int


def mlp_layers(config: MLP) -> tuple[Layer, ...]:
    """An input layer, `blocks` hidden ones and an output layer.

    Kept for the backward: the input, and what GELU or the loss sees.
    """

    def _linear(name: str, kind: str, inputs: int, outputs: int) -> Layer:
        return Layer(name, kind, inputs * outputs + outputs, 2 * inputs * outputs, inputs + outputs, (outputs,))

    hidden = tuple(_linear(f"hidden-{index}", "hidden", config.hidden, config.hidden) for index in range(config.blocks))
    first = _linear("input", "input", config.features, config.hidden)
    return (first, *hidden, _linear("output", "output", config.hidden, config.classes))


FAMILY = register(
    Family(
        name="mlp",
        config=MLP,
        layers=mlp_layers,
        input_shape=lambda config: (config.features,),
        narrow=lambda config: replace(config, hidden=min(config.hidden, 16)),
        presets=(
            MLP("mlp-tiny", blocks=8, hidden=512, features=64, classes=10),
            MLP("mlp-wide", blocks=16, hidden=2048, features=256, classes=10),
        ),
    )
)
