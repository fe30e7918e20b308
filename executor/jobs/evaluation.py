"""How good a model is on samples it never trained on: a forward through the pipeline's own stages."""

from __future__ import annotations

__all__ = ["Score", "evaluate"]

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from chimera.executor.data import Microbatch
from chimera.executor.jobs.prepare import Prepared
from chimera.executor.modules import Output, loss_of
from chimera.executor.modules.family import torch_family

_ROWS = 256
"""samples that go through together: what they need is well below what training needs"""


class Score(NamedTuple):
    """One rank's part of a score: sums that are to be added over all ranks. Only the last stage has any."""

    samples: int = 0
    predictions: int = 0
    """one a sample, or one a token that is to be predicted"""
    correct: int = 0
    loss: float = 0.0
    """mean loss times samples"""


def evaluate(item: Prepared, batch: Microbatch) -> Score:
    """Scores the newest weights on a batch that every rank of the case holds.

    The stages of the first replica in the first copy of the pipeline work one after the other,
    without gradients. Collective over the ranks of the case, in the sense that each does its part.
    """
    if item.place.copy:
        return Score()
    scores = [
        _chunk(item, Microbatch(inputs, targets))
        for inputs, targets in zip(batch.inputs.split(_ROWS), batch.targets.split(_ROWS), strict=True)
    ]
    return Score(*(sum(values) for values in zip(*scores, strict=True)))


@torch.no_grad()
def _chunk(item: Prepared, batch: Microbatch) -> Score:
    """All ranks go through the stages in one order, so nobody waits for somebody who waits for him."""
    row = item.schedule.placement[0]
    value = batch.inputs.to(item.context.device)
    for stage, device in enumerate(row):
        if device == item.place.device:
            if stage and row[stage - 1] != device:
                shape = (len(batch.inputs), *item.boundary(stage - 1))
                value = _receive(item, item.grid.rank_of(row[stage - 1]), shape)
            value = item.runtime.stages[stage].weights.newest.module(value)
            if stage + 1 < len(row) and row[stage + 1] != device:
                dist.send(value.contiguous(), item.grid.rank_of(row[stage + 1]))
    return _score(item, value, batch.targets.to(item.context.device)) if row[-1] == item.place.device else Score()


def _receive(item: Prepared, source: int, shape: tuple[int, ...]) -> Tensor:
    tensor = torch.empty(shape, dtype=item.precision.messages, device=item.context.device)
    dist.recv(tensor, source)
    return tensor


def _score(item: Prepared, output: Output, targets: Tensor) -> Score:
    loss = float(loss_of(item.config, output, targets)) * len(targets)
    return Score(len(targets), *torch_family(item.config).score(output, targets), loss)
