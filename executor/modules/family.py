"""The torch half of a model family: its modules, inputs, loss and score, registered beside its config.

A family's module in this folder has the name of the family and is imported when the first of its models is
built, so that a new family needs no list: see `chimera.pipeline.models.family`.
"""

from __future__ import annotations

__all__ = ["Inputs", "Output", "TorchFamily", "cross_entropy", "register", "score_classes", "torch_family"]

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn
from torch.nn import functional

from chimera.pipeline.errors import InputError
from chimera.pipeline.models import ModelConfig
from chimera.pipeline.models.family import family_of

if TYPE_CHECKING:  # `executor.data` asks this module for a family's inputs
    from chimera.executor.data.batch import Draw, Microbatch
    from chimera.executor.data.source import Source

Output = Tensor | tuple[Tensor, Tensor]
"""what the last layer gives to the loss: BERT has two heads"""
C = TypeVar("C", bound=ModelConfig)
Given = TypeVar("Given", bound=ModelConfig, contravariant=True)


class Inputs(Protocol[Given]):
    """Where samples come from, as they enter the first layer, with what the loss compares the last one's output to."""

    def name_source(self, config: Given, source: Source) -> Source:
        """The source with its name, the family's default where it has none. InputError for one that does not fit."""

    def load(self, config: Given, source: Source) -> None:
        """Reads a named source, so that what is wrong is said early. InputError for what is missing or damaged."""

    def draw_batch(self, config: Given, source: Source, draw: Draw) -> Microbatch:
        """One micro-batch; the same for equal draws, on every machine."""

    def held_out(self, config: Given, source: Source, draw: Draw) -> Microbatch:
        """At most `draw.size` samples that no `draw_batch` gives."""


class Right(NamedTuple):
    """How many predictions a batch asked for, and how many of them were right."""

    predictions: int
    correct: int


@dataclass(frozen=True, slots=True)
class TorchFamily(Generic[C]):
    """What is known of a family with torch; its other half is `chimera.pipeline.models.family.Family`.

    `layer(config, index)` makes the module of one layer with torch's current random state. `loss(output, target)`
    is the mean over a micro-batch, of which means over micro-batches of equal size are those of the mini-batch.
    `score(output, target)` counts predictions.
    """

    config: type[C]
    layer: Callable[[C, int], nn.Module]
    inputs: Inputs[C]
    loss: Callable[[Any, Tensor], Tensor]
    score: Callable[[Any, Tensor], Right]


_FAMILIES: dict[type[ModelConfig], TorchFamily[Any]] = {}


def register(family: TorchFamily[C]) -> TorchFamily[C]:
    """Makes the torch half of a family known by the type of its configs."""
    assert family.config not in _FAMILIES, f"{family.config.__name__} has torch modules already"
    _FAMILIES[family.config] = family
    return family


def torch_family(config: C) -> TorchFamily[C]:
    """The torch half of a config's family, imported where it is not yet. Raises InputError for a family without one."""
    if type(config) not in _FAMILIES:
        name = f"{__name__.rpartition('.')[0]}.{family_of(config).name}"
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    if type(config) not in _FAMILIES:
        raise InputError(
            f"model family {config.family!r}",
            "has no torch modules: it can be planned, not run",
            f"register them in {name}",
        )
    return _FAMILIES[type(config)]


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean over all predictions of a micro-batch: logits [..., classes], targets [...]."""
    return functional.cross_entropy(output.flatten(0, -2), target.flatten())


def score_classes(output: Tensor, target: Tensor) -> Right:
    """The most likely class of each prediction against its target; targets below zero ask for nothing."""
    asked = target >= 0
    return Right(int(asked.sum()), int(((output.argmax(-1) == target) & asked).sum()))
