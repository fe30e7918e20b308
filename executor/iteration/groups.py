"""Process groups, made once for each set of ranks and warmed up before anything is timed."""

from __future__ import annotations

__all__ = ["Groups"]

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist

from pipeline.schedule import Schedule


class Groups:
    """The process groups of this launch, by members. Every rank asks for the same ones, in the same order."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known: dict[tuple[int, ...], Any] = {}

    def __len__(self) -> int:
        """How many there are, beside torch's own of all ranks."""
        return len(self._known)

    def of(self, ranks: Iterable[int]) -> Any:
        """The group of these ranks. Collective over all ranks of the launch, members or not."""
        members = tuple(sorted(ranks))
        if members not in self._known:
            self._known[members] = group = dist.new_group(list(members))
            if dist.get_rank() in members:
                dist.all_reduce(torch.zeros(1, device=self._device), group=group)
        return self._known[members]

    def of_stages(self, schedule: Schedule, width: int) -> dict[int, Any]:
        """Per stage that has several replicas (2f x W of them): the group that all-reduces its gradient."""
        found = {}
        for stage in range(schedule.stages):
            devices = schedule.replica_devices(stage)
            members = [copy * schedule.devices + device for copy in range(width) for device in devices]
            if len(members) > 1:
                found[stage] = self.of(members)
        return found

    def warm_up_messages(self) -> None:
        """One element from every rank to every other: connections are made before anything is timed.

        One batch on every rank: NCCL wants all ranks of a group in its first batch.
        """
        rank, others = dist.get_rank(), [other for other in range(dist.get_world_size()) if other != dist.get_rank()]
        if not others:
            return
        arriving = [torch.zeros(1, device=self._device) for _ in others]
        leaving = torch.full((1,), float(rank), device=self._device)
        operations = [dist.P2POp(dist.irecv, tensor, other) for tensor, other in zip(arriving, others, strict=True)]
        operations += [dist.P2POp(dist.isend, leaving, other) for other in others]
        for work in dist.batch_isend_irecv(operations):
            work.wait()
