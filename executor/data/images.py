"""Labelled images: every one once an epoch, in the size and the colours that the model takes."""

from __future__ import annotations

__all__ = ["IMAGES", "held_out_images", "image_batch", "images"]

from collections.abc import Callable
from functools import lru_cache
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from chimera.executor.data.batch import Microbatch
from chimera.executor.data.cifar import read_cifar_10
from chimera.executor.data.digits import read_digits
from chimera.executor.data.idx import read_fashion_mnist
from chimera.executor.data.image_set import Images, ImageSet
from chimera.executor.data.source import Source
from chimera.pipeline.errors import InputError
from chimera.pipeline.models import CNN, MLP, ModelConfig

IMAGES: dict[str, Callable[[Path], Images]] = {
    "digits": lambda _: read_digits(),
    "fashion-mnist": read_fashion_mnist,
    "cifar-10": read_cifar_10,
}


def images(source: Source, config: ModelConfig) -> Images:
    """The images of a source. Raises InputError if they are not there, damaged, or do not fit the model."""
    found = _read(source)
    assert isinstance(config, CNN | MLP)
    if found.classes > config.classes:
        derived = f"{config.name} tells {config.classes} apart"
        raise InputError(f"{source.name} has {found.classes} classes", derived, "use another model")
    _side(config)
    return found


@lru_cache(maxsize=2)
def _read(source: Source) -> Images:
    return IMAGES[source.name](Path(source.folder or "."))


def image_batch(config: ModelConfig, found: Images, numbers: range, seed: int, dtype: torch.dtype) -> Microbatch:
    """The images of these numbers, counted from the first one trained on, whatever the epoch."""
    size = len(found.train.labels)
    chosen = np.array([_order(size, seed, number // size)[number % size] for number in numbers])
    return _batch(config, found, ImageSet(found.train.inputs[chosen], found.train.labels[chosen]), dtype)


def held_out_images(config: ModelConfig, found: Images, size: int, dtype: torch.dtype) -> Microbatch:
    """The first `size` images that are kept for scoring."""
    return _batch(config, found, ImageSet(found.held_out.inputs[:size], found.held_out.labels[:size]), dtype)


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(size)


def _batch(config: ModelConfig, found: Images, chosen: ImageSet, dtype: torch.dtype) -> Microbatch:
    pixels = (torch.from_numpy(chosen.inputs).float() - found.mean) / found.deviation
    colours, side = _side(config)
    fitted = _fitted(pixels, colours, side)
    inputs = fitted.flatten(1) if isinstance(config, MLP) else fitted
    return Microbatch(inputs.to(dtype), torch.from_numpy(chosen.labels))


def _side(config: ModelConfig) -> tuple[int, int]:
    """Colours and pixels a side that a model takes; an MLP's features are a grey square."""
    if isinstance(config, CNN):
        return config.colours, config.image
    assert isinstance(config, MLP)
    side = isqrt(config.features)
    if side * side != config.features:
        raise InputError(f"images for {config.name}", f"whose {config.features} features are no square", "use a CNN")
    return 1, side


def _fitted(pixels: Tensor, colours: int, side: int) -> Tensor:
    """[B, c, h, w] -> [B, colours, side, side]: the mean colour or copies of it, smoothed where it shrinks."""
    if pixels.shape[1] != colours:
        pixels = pixels.mean(1, keepdim=True).expand(-1, colours, -1, -1)
    if pixels.shape[2:] != (side, side):
        pixels = functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
    return pixels.contiguous()
