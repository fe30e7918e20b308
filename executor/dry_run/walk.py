"""One rank of a dry run: it joins a group that only pretends, and walks through its program on empty stages."""

from __future__ import annotations

__all__ = ["Size", "Walked", "walk"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from chimera.executor.data import Microbatch
from chimera.executor.iteration.groups import Groups
from chimera.executor.iteration.inspection import Piece
from chimera.executor.iteration.runtime import Runtime
from chimera.executor.jobs.precision import Precision
from chimera.executor.ranks.context import RankContext
from chimera.executor.ranks.progress import Progress
from chimera.pipeline.grid import Grid
from chimera.pipeline.schedule import Plan

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Size:
    """What every rank of the run shares."""

    plan: Plan
    shapes: tuple[tuple[int, ...], ...]
    parameters: tuple[int, ...]
    rows: int
    grid: Grid
    dtypes: Precision
    batched: bool

    @property
    def ranks(self) -> int:
        """Of all copies of the pipeline."""
        return self.grid.gpus


class Walked:
    """One rank that has walked through its program: what it handed to torch, and its all-reduces in order."""

    def __init__(self, size: Size, rank: int, folder: Path) -> None:
        schedule, grid, place = size.plan.schedule, size.grid, size.grid.place_of(rank)
        progress = Progress(folder / "action")
        context = RankContext(rank, size.ranks, _CPU, folder, progress, pinned=False, batched=size.batched)
        groups = Groups(_CPU)
        by_stage, directions = groups.of_stages(schedule, grid), groups.of_directions(schedule, grid, place.copy)
        everyone = groups.of(grid.ranks)
        self.stages = schedule.stages_on(place.device)
        shells = {stage: self._shell(size, stage) for stage in self.stages}
        runtime = Runtime(
            context,
            size.plan,
            shells,
            rows=size.rows,
            shapes=size.shapes,
            dtype=size.dtypes.messages,
            groups=by_stage,
            directions=directions,
            grid=grid,
            barrier=everyone,
        )
        self.handed = runtime.mail.handed = []
        sample = Microbatch(torch.empty(size.rows), torch.empty(size.rows))
        record = runtime.iteration([sample] * schedule.microbatches)
        launched = sorted((start, action) for stream, action, start, _ in record.spans if stream == "sync")
        self.all_reduces = [int(action.removesuffix("REDUCE_GRAD")) for _, action in launched]
        self.groups = len(groups)

    @staticmethod
    def _shell(size: Size, stage: int) -> _Shell:
        given = size.shapes[stage - 1] if stage else None
        return _Shell(size.parameters[stage], given, size.shapes[stage], size.dtypes)


def walk(size: Size, rank: int, folder: Path) -> Walked:
    """What one rank does in an iteration; `folder` takes its progress slot."""
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size.ranks)
    try:
        return Walked(size, rank, folder)
    finally:
        dist.destroy_process_group()


class _Shell:
    """A stage whose tensors have their sizes and nothing in them (see `chimera.executor.iteration.stage.StageWork`)."""

    weights: Any

    def __init__(
        self, parameters: int, given: tuple[int, ...] | None, output: tuple[int, ...], dtypes: Precision
    ) -> None:
        gradient = torch.empty(1, dtype=dtypes.weights).expand(parameters)
        self.weights = SimpleNamespace(gradient=gradient, tensors=lambda: [])
        self._given, self._output, self._dtype = given, output, dtypes.messages
        self._rows: dict[tuple[int, int], int] = {}

    def forward(self, pieces: Sequence[Piece], given: Tensor, targets: Tensor | None) -> Tensor:
        """A tensor of the output's size."""
        self._rows |= {piece.key: piece.stop - piece.start for piece in pieces}
        return torch.empty((pieces[-1].stop - pieces[0].start, *self._output), dtype=self._dtype)

    def backward(self, key: tuple[int, int], gradient: Tensor | None, weights: bool) -> Tensor | None:
        """A tensor of the input gradient's size."""
        return None if self._given is None else torch.empty((self._rows[key], *self._given), dtype=self._dtype)

    def backward_weights(self, key: tuple[int, int]) -> None:
        """Nothing."""

    def step(self) -> None:
        """Nothing."""

    def take_loss(self) -> float:
        """There is none."""
        return 0.0
