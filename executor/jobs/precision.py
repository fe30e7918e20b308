"""In which number formats a model keeps its weights, computes, and talks between stages."""

from __future__ import annotations

__all__ = ["Autocast", "Precision", "precision_of"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.setting import PRECISIONS


@dataclass(frozen=True, slots=True)
class Precision:
    """Formats of the weights (gradients, optimizer state and all-reduces too) and of messages between stages."""

    weights: torch.dtype
    messages: torch.dtype

    def stage(self, module: nn.Module, *, last: bool) -> nn.Module:
        """The module as it is to compute: with narrower messages than weights, under autocast."""
        return module if self.weights is self.messages else Autocast(module, self.messages, last=last)


class Autocast(nn.Module):
    """A stage computed as torch's autocast does: products in the narrow format, what would lose by it in float32.

    What leaves it for another stage is narrow, also within a device, so that the mathematics does
    not depend on the placement; what the last stage gives to the loss is float32.
    """

    def __init__(self, module: nn.Module, narrow: torch.dtype, *, last: bool) -> None:
        super().__init__()
        self.module, self._narrow, self._last = module, narrow, last

    def forward(self, given: Tensor) -> Tensor | tuple[Tensor, ...]:
        """As the module's, but for the formats."""
        with torch.autocast(given.device.type, dtype=self._narrow):
            output: Tensor | tuple[Tensor, ...] = self.module(given)
        wanted = torch.float32 if self._last else self._narrow
        return tuple(part.to(wanted) for part in output) if isinstance(output, tuple) else output.to(wanted)


def precision_of(name: str, device: torch.device) -> Precision:
    """float32, float64, or bf16: autocast with float32 master weights (arXiv 1710.03740, without loss scaling,
    which bfloat16's range does not need).

    Raises UnknownNameError, and InputError where the device has no bfloat16.
    """
    if name not in PRECISIONS:
        raise UnknownNameError("precision", name, PRECISIONS)
    if name == "bf16":
        if not _has_bf16(device):
            raise InputError(f"precision bf16 on {device}", "which cannot compute in bfloat16", "use float32")
        return Precision(torch.float32, torch.bfloat16)
    dtype = torch.float64 if name == "float64" else torch.float32
    return Precision(dtype, dtype)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu"
