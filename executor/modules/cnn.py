"""The residual networks with torch: stem, pre-activation block, classifier; they tell images apart."""

from __future__ import annotations

__all__ = ["FAMILY", "Classifier", "ResidualBlock", "Stem"]

from torch import Tensor, nn
from torch.nn import functional

from chimera.executor.data.features import FeatureInputs
from chimera.executor.modules.convolution import Convolution
from chimera.executor.modules.family import TorchFamily, cross_entropy, register, score_classes
from chimera.executor.modules.linear import Linear
from chimera.pipeline.models.cnn import CNN, Residual, residuals


class Stem(Convolution):
    """The first convolution: images [B, colours, H, W] -> [B, channels, H, W]."""

    def __init__(self, config: CNN) -> None:
        super().__init__(config.colours, config.channels, 3)


class ResidualBlock(nn.Module):
    """Norm, ReLU and convolution, twice, and a way around them; the first convolution may halve the image."""

    def __init__(self, config: CNN, shape: Residual) -> None:
        super().__init__()
        inner, outer = shape.channels_in, shape.channels_out
        self.norm_1, self.norm_2 = nn.GroupNorm(config.groups, inner), nn.GroupNorm(config.groups, outer)
        self.convolution_1 = Convolution(inner, outer, 3, shape.stride)
        self.convolution_2 = Convolution(outer, outer, 3)
        self.around = Convolution(inner, outer, 1, shape.stride) if shape.projected else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H', W']."""
        active = functional.relu(self.norm_1(x))
        around = x if self.around is None else self.around(active)
        return around + self.convolution_2(functional.relu(self.norm_2(self.convolution_1(active))))  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """Norm, ReLU, mean over the pixels, and a linear layer: [B, channels, H, W] -> [B, classes]."""

    def __init__(self, config: CNN, shape: Residual) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.groups, shape.channels_out)
        self.logits = Linear(shape.channels_out, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of every class."""
        return self.logits(functional.relu(self.norm(x)).mean((2, 3)))  # type: ignore[no-any-return]


def _layer(config: CNN, index: int) -> nn.Module:
    if index == 0:
        return Stem(config)
    shapes = residuals(config)
    return ResidualBlock(config, shapes[index - 1]) if index <= config.blocks else Classifier(config, shapes[-1])


FAMILY = register(
    TorchFamily(config=CNN, layer=_layer, inputs=FeatureInputs("digits"), loss=cross_entropy, score=score_classes)
)
