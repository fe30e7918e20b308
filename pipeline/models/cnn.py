"""Residual networks for small square images, with group norm: no sample depends on another."""

from __future__ import annotations

__all__ = ["CNN", "FAMILY", "Residual", "cnn_layers", "residuals"]

from dataclasses import dataclass, replace
from typing import NamedTuple

from chimera.pipeline.models.family import Family, ModelConfig, register
from chimera.pipeline.models.layer import Layer

_KERNEL = 9
"""3 x 3"""


@dataclass(frozen=True, slots=True)
class CNN(ModelConfig):
    """A convolution, pre-activation residual blocks (arXiv 1603.05027), and a linear classifier on the mean.

    The blocks are spread evenly over `sizes` resolutions; each halves the image of the one before
    and doubles its channels. Group norm (arXiv 1803.08494) instead of batch norm: the mathematics
    does not depend on how a mini-batch is cut.
    """

    blocks: int
    sizes: int
    channels: int
    groups: int
    """of every norm; divides `channels`"""
    image: int
    colours: int
    classes: int


class Residual(NamedTuple):
    """One block: channels and pixels a side of its input and of its output."""

    channels_in: int
    channels_out: int
    side_in: int
    side_out: int

    @property
    def stride(self) -> int:
        """2 where the block halves the image."""
        return 1 if self.side_in == self.side_out else 2

    @property
    def projected(self) -> bool:
        """Whether the way around the block needs a convolution of its own (1 x 1)."""
        return self.channels_in != self.channels_out


def residuals(config: CNN) -> tuple[Residual, ...]:
    """The shapes of all blocks in order."""
    shapes, channels, side = [], config.channels, config.image
    for index in range(config.blocks):
        size = index * config.sizes // config.blocks
        smaller = index > 0 and size > (index - 1) * config.sizes // config.blocks
        then = (2 * channels, (side + 1) // 2) if smaller else (channels, side)
        shapes.append(Residual(channels, then[0], side, then[1]))
        channels, side = then
    return tuple(shapes)


def cnn_layers(config: CNN) -> tuple[Layer, ...]:
    """Stem, blocks, classifier. Convolutions have no bias: a norm or a sum follows."""
    shapes = residuals(config)
    return (
        _stem(config),
        *(_block(config, index, item) for index, item in enumerate(shapes)),
        _classifier(config, shapes[-1]),
    )


def _stem(config: CNN) -> Layer:
    """Keeps the image."""
    weights, pixels = _KERNEL * config.colours * config.channels, config.image**2
    shape = (config.channels, config.image, config.image)
    return Layer("stem", "stem", weights, 2 * weights * pixels, config.colours * pixels, shape)


def _block(config: CNN, index: int, item: Residual) -> Layer:
    """Norm, ReLU and convolution, twice. Kept: what each norm sees, its statistics, and what each ReLU gives."""
    inner, outer = item.channels_in, item.channels_out
    weights = _KERNEL * (inner * outer + outer * outer) + (inner * outer if item.projected else 0)
    kept = 2 * inner * item.side_in**2 + 2 * outer * item.side_out**2 + 4 * config.groups
    return Layer(
        f"residual-{index}",
        "residual",
        weights + 2 * inner + 2 * outer,
        2 * weights * item.side_out**2,
        kept,
        (outer, item.side_out, item.side_out),
    )


def _classifier(config: CNN, last: Residual) -> Layer:
    """Norm, ReLU, mean over the pixels, linear. Kept: as in a block, the mean, and the loss's probabilities."""
    channels, classes = last.channels_out, config.classes
    kept = 2 * channels * last.side_out**2 + 2 * config.groups + channels + classes
    parameters = 2 * channels + channels * classes + classes
    return Layer("classifier", "classifier", parameters, 2 * channels * classes, kept, (classes,))


FAMILY = register(
    Family(
        name="cnn",
        config=CNN,
        layers=cnn_layers,
        input_shape=lambda config: (config.colours, config.image, config.image),
        narrow=lambda config: replace(config, channels=min(config.channels, 8), groups=4, image=min(config.image, 8)),
        presets=(
            CNN("cnn-tiny", blocks=6, sizes=3, channels=16, groups=8, image=8, colours=1, classes=10),
            CNN("cnn-mnist", blocks=6, sizes=3, channels=16, groups=8, image=28, colours=1, classes=10),
            # as deep and as wide as ResNet-18, for the images of CIFAR-10
            CNN("cnn", blocks=8, sizes=4, channels=64, groups=32, image=32, colours=3, classes=10),
        ),
    )
)
