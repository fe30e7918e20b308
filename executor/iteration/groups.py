"""Process groups, made once for each set of ranks and use, and warmed up before anything is timed.

Messages of each replica of a schedule travel in a group, so on NCCL a communicator, of their own:
neither of two directions queues behind the other. Communicators of one GPU could block each other;
what protects them is that every rank issues its messages in the plan's one global order.
"""

from __future__ import annotations

__all__ = ["Groups"]

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist

from chimera.pipeline.grid import Grid
from chimera.pipeline.schedule import Schedule


class Groups:
    """The process groups of this launch, by members. Every rank asks for the same ones, in the same order."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known: dict[tuple[int, ...], Any] = {}
        self._directions: dict[tuple[int, tuple[int, ...]], Any] = {}

    def __len__(self) -> int:
        """How many there are, beside torch's own of all ranks."""
        return len(self._known) + len(self._directions)

    def of(self, ranks: Iterable[int]) -> Any:
        """The group of these ranks. Collective over all ranks of the launch, members or not."""
        members = tuple(sorted(ranks))
        if members not in self._known:
            self._known[members] = group = dist.new_group(list(members))
            if dist.get_rank() in members:
                dist.all_reduce(torch.zeros(1, device=self._device), group=group)
        return self._known[members]

    def of_stages(self, schedule: Schedule, grid: Grid) -> dict[int, Any]:
        """Per stage that has several replicas (2f x W of them): the group that all-reduces its gradient."""
        members = {stage: grid.replica_ranks(schedule, stage) for stage in range(schedule.stages)}
        return {stage: self.of(ranks) for stage, ranks in members.items() if len(ranks) > 1}

    def of_directions(self, schedule: Schedule, grid: Grid, copy: int | None) -> list[Any]:
        """Per replica, the group in which its messages travel in a copy of the pipeline; None is torch's own.

        Where only one replica sends anything, torch's own serves. Collective over all ranks of the
        launch, also those outside the grid, which are in no copy.
        """
        directions: list[Any] = [None] * schedule.replicas
        sending = [replica for replica, row in enumerate(schedule.placement) if len(set(row)) > 1]
        if len(sending) < 2:
            return directions
        for other in range(grid.width):
            for number, replica in enumerate(sending):
                row = schedule.placement[replica]
                group = self._direction(number, [grid.rank_of(device, other) for device in row])
                if other == copy:
                    directions[replica] = group
        return directions

    def warm_up_messages(self, members: Sequence[int] | None = None, group: Any = None) -> None:
        """One element from every member (None: every rank) to every other, before anything is timed.

        One batch on every rank: NCCL wants all ranks of a group in its first batch.
        """
        rank = dist.get_rank()
        others = [other for other in (range(dist.get_world_size()) if members is None else members) if other != rank]
        if not others:
            return
        arriving = [torch.zeros(1, device=self._device) for _ in others]
        leaving = torch.full((1,), float(rank), device=self._device)
        operations = [
            dist.P2POp(dist.irecv, tensor, other, group) for tensor, other in zip(arriving, others, strict=True)
        ]
        operations += [dist.P2POp(dist.isend, leaving, other, group) for other in others]
        for work in dist.batch_isend_irecv(operations):
            work.wait()

    def _direction(self, number: int, ranks: Iterable[int]) -> Any:
        key = number, tuple(sorted(set(ranks)))
        if key not in self._directions:
            self._directions[key] = group = dist.new_group(list(key[1]))
            if dist.get_rank() in key[1]:
                self.warm_up_messages(key[1], group)
        return self._directions[key]
