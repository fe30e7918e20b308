"""One indivisible piece of a model, described in numbers."""

from __future__ import annotations

__all__ = ["Layer"]

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, slots=True)
class Layer:
    """One indivisible piece of a model; figures are for one sample.

    `forward_flops` counts the multiply-adds of products and convolutions as two, as torch's own
    counter does. `activation_elements` is what autograd keeps for the backward: the layer's input
    included, its parameters not, and in the last layer what the loss keeps too. Indices of positions,
    which a micro-batch keeps once whatever its size, count for every sample.
    `boundary_shape` is the shape of the layer's output without the batch. Layers of one `kind` ("block",
    "embedding") are of the same make; the words are the family's own.
    """

    name: str
    kind: str
    parameters: int
    forward_flops: int
    activation_elements: int
    boundary_shape: tuple[int, ...]

    @property
    def boundary_elements(self) -> int:
        """Elements of the layer's output."""
        return prod(self.boundary_shape)
