"""The weights of one stage on one rank: versions, the gradient they share, and the optimizer.

Weights lie in one flat buffer a version, and so does the gradient: an all-reduce takes it as it is,
an optimizer step is one fused call, a new version one copy.
"""

from __future__ import annotations

__all__ = ["OPTIMIZERS", "Version", "Weights", "optimizer_options"]

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chimera.executor.modules.deferral import Sink, defer
from chimera.pipeline.schedule import Update
from chimera.pipeline.setting import Optimizer

_ALIGNMENT = 16
"""Parameters start at multiples of 16 elements: whole cache lines for float32."""
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass(slots=True, eq=False)
class Version:
    """One version of a stage's weights: a module whose parameters are views of `flat`."""

    module: nn.Module
    flat: Tensor
    users: int = 0
    """forwards whose backward is still to come"""


class Weights:
    """All versions of one stage's weights that are still needed; the newest is the optimizer's.

    Plain schedules never need a second one. PipeDream stashes: a backward uses the version its
    forward used (SOSP'19). 2BW delays by one: gradients are taken at the previous version and
    applied to the newest, W(t+1) = W(t) - lr * g(W(t-1)) (arXiv 2006.09503).
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: str,
        learning_rate: float,
        update: Update = "flush",
        sink: Sink | None = None,
        momentum: float = 0.0,
    ) -> None:
        self._update, self._sink = update, sink
        self._shapes = [p.shape for p in module.parameters()]
        first = next(module.parameters())
        size = sum(_padded(p.numel()) for p in module.parameters())
        self.gradient = torch.zeros(size, dtype=first.dtype, device=first.device)
        self.newest = self._previous = self._adopt(module, torch.zeros_like(self.gradient))
        self.versions = [self.newest]
        self.master = nn.Parameter(self.newest.flat)
        self.master.grad = self.gradient
        self._initial: Tensor | None = None
        options = optimizer_options(optimizer, momentum)
        self.optimizer = OPTIMIZERS[optimizer]([self.master], lr=learning_rate, fused=True, **options)  # type: ignore[call-arg]

    def acquire(self) -> Version:
        """The version that a forward beginning now uses; `release` it after its last backward."""
        version = self._previous if self._update == "2bw" else self.newest
        version.users += 1
        return version

    def release(self, version: Version) -> None:
        """Ends one use of a version."""
        version.users -= 1

    def step(self) -> None:
        """One optimizer step on the newest weights; versions still in use keep their values."""
        target = self._target()
        if target is not self.newest:
            target.flat.copy_(self.newest.flat)
            self.master.data = target.flat
        self.optimizer.step()
        self.gradient.zero_()
        self._previous, self.newest = self.newest, target

    def use_rate(self, rate: float) -> None:
        """The learning rate of the steps to come."""
        self.optimizer.param_groups[0]["lr"] = rate

    def remember(self) -> None:
        """Keeps a copy of the weights as they are, for `reset`."""
        self._initial = self.newest.flat.clone()

    def reset(self) -> None:
        """Back to the remembered weights, with fresh optimizer state and zero gradient."""
        assert self._initial is not None, "remember() comes first"
        self._previous = self.newest
        self.newest.flat.copy_(self._initial)
        self.gradient.zero_()
        self.optimizer.state.clear()

    def forget(self) -> None:
        """Lets go of the remembered weights: there will be no further `reset`."""
        self._initial = None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, between iterations: every version still needed, and the optimizer's state."""
        previous = self._previous.flat if self._update == "2bw" and self._previous is not self.newest else None
        return {"newest": self.newest.flat, "previous": previous, "optimizer": self.optimizer.state_dict()["state"]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`, whatever was trained before."""
        self.newest.flat.copy_(state["newest"])
        self._previous = self.newest
        if state["previous"] is not None:
            self._previous = self._target()
            self._previous.flat.copy_(state["previous"])
        self.gradient.zero_()
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state["optimizer"]})

    def tensors(self) -> list[Tensor]:
        """Everything held between iterations: weights of all versions, gradient, optimizer state."""
        values = [value for state in self.optimizer.state.values() for value in state.values()]
        states = [value for value in values if isinstance(value, Tensor)]
        return [*(version.flat for version in self.versions), self.gradient, *states]

    def gradients(self) -> list[Tensor]:
        """The gradients parameter by parameter, in the module's order (views)."""
        return _views(self.gradient, self._shapes)

    def values(self) -> list[Tensor]:
        """The newest weights parameter by parameter, in the module's order (views)."""
        return _views(self.newest.flat, self._shapes)

    def _target(self) -> Version:
        """The version to step on: one that nobody uses, with 2BW never the newest."""
        if self._update != "2bw" and self.newest.users == 0:
            return self.newest
        for version in self.versions:
            if version is not self.newest and version.users == 0:
                return version
        module = copy.deepcopy(self.newest.module)
        fresh = self._adopt(module, torch.empty_like(self.newest.flat))
        self.versions.append(fresh)
        return fresh

    def _adopt(self, module: nn.Module, flat: Tensor) -> Version:
        """Moves a module's parameters into `flat` and points their gradients at the shared one."""
        places = zip(module.parameters(), _views(flat, self._shapes), _views(self.gradient, self._shapes), strict=True)
        for parameter, place, gradient in places:
            place.copy_(parameter.data)
            parameter.data = place
            parameter.grad = gradient
        if self._sink is not None:
            defer(module, self._sink)
        return Version(module, flat)


def optimizer_options(name: str, momentum: float) -> dict[str, Any]:
    """What an optimizer takes beside its learning rate. Raises UnknownNameError, InputError for momentum it has not."""
    Optimizer(name, momentum=momentum).check()
    if name == "sgd":
        return {"momentum": momentum}
    return {}


def _padded(count: int) -> int:
    return -(-count // _ALIGNMENT) * _ALIGNMENT


def _views(flat: Tensor, shapes: list[torch.Size]) -> list[Tensor]:
    views, offset = [], 0
    for shape in shapes:
        count = shape.numel()
        views.append(flat[offset : offset + count].view(shape))
        offset += _padded(count)
    return views
