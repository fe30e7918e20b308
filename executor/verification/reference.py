"""What training means without a pipeline: one process, one model, plain autograd.

Shares nothing with the runtime but the layers and the data: gradients are taken parameter by
parameter and stepped with torch's own loop implementation of the optimizer.
"""

from __future__ import annotations

__all__ = ["Outcome", "reference"]

from typing import NamedTuple

import torch
from torch import Tensor, nn

from chimera.executor.data import Microbatch, microbatch
from chimera.executor.iteration.weights import OPTIMIZERS, optimizer_options
from chimera.executor.jobs.prepare import Prepared
from chimera.executor.modules import build_layers, loss_of
from chimera.pipeline.models import layers


class Outcome(NamedTuple):
    """Per layer and parameter: the last gradients and the weights; and the last mean loss."""

    gradients: list[list[Tensor]]
    weights: list[list[Tensor]]
    loss: float


def reference(item: Prepared, iterations: int) -> Outcome:
    """The outcome of `iterations` of a case's update rule: a plain flush, PipeDream's or 2BW's."""
    return _Reference(item).run(iterations)


class _Reference:
    def __init__(self, item: Prepared) -> None:
        self.item, job = item, item.job
        self.model = build_layers(item.config, range(len(layers(item.config))), seed=job.seed, dtype=item.dtype)
        kind, options = OPTIMIZERS[job.optimizer], optimizer_options(job.optimizer, job.momentum)
        self.optimizers = [
            kind(layer.parameters(), lr=job.learning_rate, foreach=False, **options)  # type: ignore[call-arg]
            for layer in self.model
        ]

    def run(self, iterations: int) -> Outcome:
        """Trains for so many iterations, by the case's update rule."""
        update = self.item.schedule.update
        older = self.snapshot()
        loss = 0.0
        for iteration in range(iterations):
            self.use_rate(iteration)
            if update == "pipedream":
                loss = self.pipedream(iteration)
                continue
            newest = self.snapshot()
            if update == "2bw":
                self.load(older)
            gradients, loss = self.accumulate(iteration)
            self.load(newest)
            self.step(gradients)
            older = newest
        return Outcome([[_gradient(p) for p in layer.parameters()] for layer in self.model], self.snapshot(), loss)

    def accumulate(self, iteration: int) -> tuple[list[list[Tensor]], float]:
        """Gradients of the mean loss over the whole mini-batch, and that loss."""
        numbers = range(self.item.schedule.microbatches * self.item.case.width)
        self.clear()
        total = 0.0
        for number in numbers:
            loss = self.loss(self.batch(iteration, number)) / len(numbers)
            torch.autograd.backward(loss)
            total += float(loss)
        return [[_gradient(p) for p in layer.parameters()] for layer in self.model], total

    def pipedream(self, iteration: int) -> float:
        """Every micro-batch a mini-batch: stage s works with the weights of its own forward.

        With 1F1B, min(N, D - s) forwards of stage s come before its first update, so micro-batch m
        sees max(0, m - min(N, D - s) + 1) updates of the iteration (weight stashing, SOSP'19).
        """
        count, width = self.item.schedule.microbatches, self.item.case.width
        history = [self.snapshot()]
        total = 0.0
        for m in range(count):
            self.load(self.stashed(history, m))
            self.clear()
            for copy in range(width):
                loss = self.loss(self.batch(iteration, copy * count + m)) / width
                torch.autograd.backward(loss)
                total += float(loss) / count
            gradients = [[_gradient(p) for p in layer.parameters()] for layer in self.model]
            self.load(history[-1])
            self.step(gradients)
            history.append(self.snapshot())
        return total

    def stashed(self, history: list[list[list[Tensor]]], m: int) -> list[list[Tensor]]:
        """The weights that micro-batch m sees, of all snapshots since the iteration began."""
        stages, count = self.item.schedule.stages, self.item.schedule.microbatches
        return [
            history[max(0, m - min(count, stages - stage) + 1)][layer]
            for stage, cut in enumerate(self.item.cuts)
            for layer in cut
        ]

    def batch(self, iteration: int, number: int) -> Microbatch:
        """Micro-batch `number` of all copies' micro-batches of an iteration."""
        item, size = self.item, self.item.case.microbatch_size
        return microbatch(
            item.config,
            size,
            seed=item.job.seed,
            iteration=iteration,
            number=number,
            count=item.schedule.microbatches * item.case.width,
            dtype=item.dtype,
            source=item.source,
        )

    def loss(self, batch: Microbatch) -> Tensor:
        """The mean loss of a micro-batch."""
        return loss_of(self.item.config, nn.Sequential(*self.model)(batch.inputs), batch.targets)

    def clear(self) -> None:
        """Forgets all gradients."""
        for layer in self.model:
            layer.zero_grad()

    def snapshot(self) -> list[list[Tensor]]:
        """A copy of all weights, by layer and parameter."""
        return [[p.detach().clone() for p in layer.parameters()] for layer in self.model]

    def load(self, values: list[list[Tensor]]) -> None:
        """Puts the weights of a snapshot in place."""
        with torch.no_grad():
            for layer, row in zip(self.model, values, strict=True):
                for parameter, value in zip(layer.parameters(), row, strict=True):
                    parameter.copy_(value)

    def use_rate(self, iteration: int) -> None:
        """Sets the learning rate of an iteration."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.item.job.rate.at(iteration)

    def step(self, gradients: list[list[Tensor]]) -> None:
        """One optimizer step with the given gradients, clipped where the job says so."""
        for layer, row in zip(self.model, gradients, strict=True):
            for parameter, gradient in zip(layer.parameters(), row, strict=True):
                parameter.grad = gradient
        if self.item.job.clip_norm is not None:
            nn.utils.clip_grad_norm_([p for layer in self.model for p in layer.parameters()], self.item.job.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad.clone()
