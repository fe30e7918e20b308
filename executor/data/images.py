"""Labelled images: every one once an epoch, in the size and the colours that the model takes."""

from __future__ import annotations

__all__ = ["IMAGES", "draw_images", "held_out_images", "load_images"]

from collections.abc import Callable
from functools import lru_cache
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from chimera.executor.data.batch import Draw, Microbatch
from chimera.executor.data.cifar import read_cifar_10
from chimera.executor.data.digits import read_digits
from chimera.executor.data.idx import read_fashion_mnist
from chimera.executor.data.image_set import Images, ImageSet
from chimera.executor.data.source import Source
from chimera.pipeline.errors import InputError
from chimera.pipeline.models import ModelConfig, input_shape, layers

IMAGES: dict[str, Callable[[Path], Images]] = {
    "digits": lambda _: read_digits(),
    "fashion-mnist": read_fashion_mnist,
    "cifar-10": read_cifar_10,
}


def load_images(source: Source, config: ModelConfig) -> Images:
    """The images of a source. Raises InputError if they are not there, damaged, or do not fit the model."""
    images, (classes,) = _read(source), layers(config)[-1].boundary_shape
    if images.classes > classes:
        derived = f"{config.name} tells {classes} apart"
        raise InputError(f"{source.name} has {images.classes} classes", derived, "use another model")
    _side(config)
    return images


@lru_cache(maxsize=2)
def _read(source: Source) -> Images:
    return IMAGES[source.name](Path(source.folder or "."))


def draw_images(config: ModelConfig, images: Images, draw: Draw) -> Microbatch:
    """The images of a draw's numbers, counted from the first one trained on, whatever the epoch."""
    size = len(images.train.labels)
    chosen = np.array([_order(size, draw.seed, number // size)[number % size] for number in draw.numbers])
    return _batch(config, images, ImageSet(images.train.inputs[chosen], images.train.labels[chosen]), draw.dtype)


def held_out_images(config: ModelConfig, images: Images, draw: Draw) -> Microbatch:
    """The first `draw.size` images that are kept for scoring."""
    kept = images.held_out
    return _batch(config, images, ImageSet(kept.inputs[: draw.size], kept.labels[: draw.size]), draw.dtype)


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(size)


def _batch(config: ModelConfig, images: Images, chosen: ImageSet, dtype: torch.dtype) -> Microbatch:
    pixels = (torch.from_numpy(chosen.inputs).float() - images.mean) / images.deviation
    colours, side = _side(config)
    inputs = _fitted(pixels, colours, side).reshape(-1, *input_shape(config))
    return Microbatch(inputs.to(dtype), torch.from_numpy(chosen.labels))


def _side(config: ModelConfig) -> tuple[int, int]:
    """Colours and pixels a side that a model takes; a vector of features is a grey square."""
    colours, *sides = (1, *shape) if len(shape := input_shape(config)) == 1 else shape
    if len(sides) > 1:
        return colours, sides[0]
    side = isqrt(sides[0])
    if side * side != sides[0]:
        raise InputError(f"images for {config.name}", f"whose {sides[0]} features are no square", "use a CNN")
    return colours, side


def _fitted(pixels: Tensor, colours: int, side: int) -> Tensor:
    """[B, c, h, w] -> [B, colours, side, side]: the mean colour or copies of it, smoothed where it shrinks."""
    if pixels.shape[1] != colours:
        pixels = pixels.mean(1, keepdim=True).expand(-1, colours, -1, -1)
    if pixels.shape[2:] != (side, side):
        pixels = functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
    return pixels.contiguous()
