"""One layer alone: its times and its memory."""

from __future__ import annotations

__all__ = ["LayerBench", "LayerMemory", "LayerProbe", "LayerTimes"]

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from chimera.calibration.measuring.probes.value import Probe
from chimera.executor.data import Source, microbatch
from chimera.executor.iteration.memory import footprint
from chimera.executor.modules import build_layers, loss_of
from chimera.executor.ranks.clock import Clock
from chimera.pipeline.models import ModelConfig, layers

_WARMUP, _LEAST = 2, 3


@dataclass(frozen=True, slots=True)
class LayerProbe(Probe):
    """Times of one layer's repetitions, in the order in which they were measured, and its bytes, for one micro-batch.

    `activation_bytes` stay for the backward (input included, output not); workspaces are what each direction
    needs beyond that while it runs. The last layer ends in the loss, as in its stage, and has no output.
    """

    index: int
    forward_ns: tuple[int, ...]
    backward_ns: tuple[int, ...]
    activation_bytes: int
    output_bytes: int
    forward_workspace_bytes: int
    backward_workspace_bytes: int


class LayerTimes(NamedTuple):
    """Nanoseconds of each repetition."""

    forward_ns: list[int]
    backward_ns: list[int]


class LayerMemory(NamedTuple):
    """Bytes of a forward and its backward: see `LayerProbe`."""

    activation_bytes: int
    output_bytes: int
    forward_workspace_bytes: int
    backward_workspace_bytes: int


class LayerBench:
    """One layer with a sample of its input; the last one ends in the loss, as in its stage."""

    def __init__(
        self, config: ModelConfig, index: int, size: int, job: Mapping[str, Any], device: torch.device
    ) -> None:
        (module,) = build_layers(config, [index], seed=job["seed"])
        source = Source(job["data"], job["data_dir"])
        batch = microbatch(config, size, seed=job["seed"], iteration=0, number=0, source=source)
        first, self.last = index == 0, index == len(layers(config)) - 1
        sample = batch.inputs if first else torch.randn(size, *layers(config)[index - 1].boundary_shape)
        self.config, self.module = config, module.to(device)
        self.sample, self.targets = sample.to(device), batch.targets.to(device)

    def forward(self, inputs: Tensor) -> Tensor:
        """The layer's output, or the loss."""
        output = self.module(inputs)
        return loss_of(self.config, output, self.targets) if self.last else output

    def time(self, clock: Clock, seconds: float) -> LayerTimes:
        """Forwards and backwards for so long; the input's gradient is included where it has one."""
        times = LayerTimes([], [])
        deadline = time.monotonic() + seconds
        repetition = 0
        clock.begin()
        while repetition < _LEAST + _WARMUP or time.monotonic() < deadline:
            forward_ns, backward_ns = self._time_once(clock)
            if repetition >= _WARMUP:
                times.forward_ns.append(forward_ns)
                times.backward_ns.append(backward_ns)
            repetition += 1
        return times

    def _time_once(self, clock: Clock) -> tuple[int, int]:
        inputs = _fresh(self.sample)
        started = clock.mark()
        output = self.forward(inputs)
        between = clock.mark()
        gradient = torch.ones_like(output)
        resumed = clock.mark()
        output.backward(gradient)
        ended = clock.mark()
        clock.finish()
        return clock.ns(between) - clock.ns(started), clock.ns(ended) - clock.ns(resumed)

    def watch_memory(self) -> LayerMemory:
        """What stays for the backward, the output, and what each direction needs for a while."""
        inputs = _fresh(self.sample)
        kept: list[Tensor] = []
        ahead = footprint(lambda: kept.append(self.forward(inputs)))
        output = kept.pop()
        gradient = torch.ones_like(output)
        for parameter in self.module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        behind = footprint(lambda: output.backward(gradient))
        output_bytes = 0 if self.last else output.nbytes
        return LayerMemory(
            activation_bytes=max(ahead.net_bytes - output_bytes + inputs.nbytes, 0),
            output_bytes=output_bytes,
            forward_workspace_bytes=ahead.peak_bytes - ahead.net_bytes + output_bytes,
            backward_workspace_bytes=behind.peak_bytes,
        )


def _fresh(sample: Tensor) -> Tensor:
    inputs = sample.detach()
    return inputs.requires_grad_() if inputs.is_floating_point() else inputs
