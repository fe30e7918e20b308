"""A model family that the project does not have: it learns the mean of a vector, by its square error.

Both halves are registered here, as a new family's two files would: nothing else is told of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from chimera.executor.data.batch import Draw, Microbatch
from chimera.executor.data.source import Source
from chimera.executor.jobs.job import run_job
from chimera.executor.modules.family import Right, TorchFamily
from chimera.executor.modules.family import register as register_modules
from chimera.executor.modules.linear import Linear
from chimera.executor.ranks.context import RankContext
from chimera.executor.verification.difference import difference
from chimera.pipeline.models.family import Family, ModelConfig, register
from chimera.pipeline.models.layer import Layer


@dataclass(frozen=True, slots=True)
class Mean(ModelConfig):
    """`depth` square layers with tanh behind each, and one that gives a single number."""

    depth: int
    width: int


def _layers(config: Mean) -> tuple[Layer, ...]:
    w = config.width
    square = [Layer(f"square-{index}", "square", w * w + w, 2 * w * w, 2 * w, (w,)) for index in range(config.depth)]
    return (*square, Layer("mean", "mean", w + 1, 2 * w, w + 1, (1,)))


register(
    Family(
        name="mean",
        config=Mean,
        layers=_layers,
        input_shape=lambda config: (config.width,),
        narrow=lambda config: replace(config, width=2),
    )
)


class MeanInputs:
    """Vectors, and their means as targets."""

    def name_source(self, config: Mean, source: Source) -> Source:
        return replace(source, name="means")

    def load(self, config: Mean, source: Source) -> None:
        """There is nothing to read."""

    def draw_batch(self, config: Mean, source: Source, draw: Draw) -> Microbatch:
        generator = torch.Generator().manual_seed(hash(tuple(draw.key)))
        vectors = torch.randn(draw.size, config.width, generator=generator, dtype=draw.dtype)
        return Microbatch(vectors, vectors.mean(1))

    held_out = draw_batch


def _module(config: Mean, index: int) -> nn.Module:
    if index == config.depth:
        return Linear(config.width, 1)
    return nn.Sequential(Linear(config.width, config.width), nn.Tanh())


def _square_error(output: Tensor, target: Tensor) -> Tensor:
    return (output[:, 0] - target).square().mean()


def _same_sign(output: Tensor, target: Tensor) -> Right:
    return Right(len(target), int((output[:, 0] * target > 0).sum()))


register_modules(TorchFamily(config=Mean, layer=_module, inputs=MeanInputs(), loss=_square_error, score=_same_sign))


def trained_and_verified(context: RankContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a rank tells of a training, and the largest difference of its gradients to one process's."""
    return {"job": run_job(context, payload["train"]), "difference": difference(context, payload["verify"])}
