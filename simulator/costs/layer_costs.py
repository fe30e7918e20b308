"""What the layers of a model cost: a table by micro-batch size and tensor width, and where each entry comes from."""

from __future__ import annotations

__all__ = ["CostSource", "LayerCost", "Precision", "SizeCost", "Spread"]

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, MinLen

from chimera.pipeline.showing import Record
from chimera.simulator.costs.network_costs import Count

Spread = Annotated[float, Ge(0)]
Precision = Literal["float32", "float64", "tf32", "bf16", "bf16-master"]
CostSource = Literal["measured", "published", "estimated"]


@dataclass(frozen=True, slots=True)
class SizeCost:
    """One layer at one micro-batch size (samples) on one tensor width. `None` means not measured, or not said.

    `backward_ns` is the full backward, `backward_input_ns` + `backward_weight_ns` the split one; at
    least one of the two is known. Spreads are robust relative standard deviations.
    `activation_bytes` is what autograd keeps for the backward (the layer's input included),
    `boundary_bytes` the output, workspaces what an action needs only while it runs.
    """

    microbatch_size: Annotated[int, Ge(1)]
    forward_ns: Count
    backward_ns: Count | None = None
    backward_input_ns: Count | None = None
    backward_weight_ns: Count | None = None
    forward_spread: Spread = 0.0
    backward_spread: Spread = 0.0
    activation_bytes: Count = 0
    boundary_bytes: Count = 0
    forward_workspace_bytes: Count = 0
    backward_workspace_bytes: Count = 0
    tensor: Annotated[int, Ge(1)] = 1
    """devices that share the layer, each with a part of it: what is said here is said of one part"""
    tokens: Annotated[int, Ge(1)] | None = None
    """per sample"""
    precision: Precision | None = None
    source: CostSource | None = None
    """where the times come from"""


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One indivisible piece of the model, its weights, and its costs by ascending micro-batch size.

    `repeat` equal layers in a row need be written once.
    """

    name: str
    costs: Annotated[tuple[SizeCost, ...], MinLen(1)]
    kind: str = "block"
    parameters: Count = 0
    parameter_bytes: Count = 0
    repeat: Annotated[int, Ge(1)] = 1

    @property
    def undivided(self) -> tuple[SizeCost, ...]:
        """The costs of the layer on one device, as they are predicted from."""
        return tuple(cost for cost in self.costs if cost.tensor == 1)

    def records(self) -> list[Record]:
        """One for each cost."""
        layer: Record = {"layer": self.name, "kind": self.kind, "repeat": self.repeat}
        weights: Record = {"parameters": self.parameters, "parameter_bytes": self.parameter_bytes}
        return [layer | weights | {name: getattr(cost, name) for name in SizeCost.__slots__} for cost in self.costs]
