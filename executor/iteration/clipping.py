"""Gradient clipping by the global norm: over all stages wherever they live, replicas counted once."""

from __future__ import annotations

__all__ = ["Clipping", "counted_stages", "refuse_clipping"]

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule

_EPSILON = 1e-6
"""as `torch.nn.utils.clip_grad_norm_` has it: a zero gradient stays zero"""


class Clipping:
    """Scales the gradients of all ranks so that their common norm is at most `limit`.

    `gradients` are those this rank will step with; `counted` those of them that no other rank
    counts; `group` holds every rank of the pipeline and of its copies. To be called when all
    all-reduces of gradients on this rank are done. Equal to `torch.nn.utils.clip_grad_norm_` on the
    whole model (arXiv 1211.5063).
    """

    def __init__(self, limit: float, gradients: Sequence[Tensor], counted: Sequence[Tensor], group: Any) -> None:
        self._limit, self._gradients, self._counted, self._group = limit, gradients, counted, group

    def __call__(self) -> None:
        """Clips. Collective over the group: one all-reduce of one number."""
        total = torch.zeros((), dtype=torch.float64, device=self._gradients[0].device)
        for gradient in self._counted:
            total += torch.linalg.vector_norm(gradient, dtype=torch.float64).square()
        dist.all_reduce(total, group=self._group)
        # The factor stays a tensor: reading it would make a GPU's host wait.
        factor = (self._limit / (total.sqrt() + _EPSILON)).clamp(max=1.0)
        for gradient in self._gradients:
            gradient.mul_(factor)


def counted_stages(schedule: Schedule, device: int, copy: int) -> tuple[int, ...]:
    """The stages whose squares this rank counts: those of which it is the first holder, in the first copy."""
    if copy:
        return ()
    return tuple(stage for stage in schedule.stages_on(device) if schedule.replica_devices(stage)[0] == device)


def refuse_clipping(limit: float, schedule: Schedule) -> None:
    """Raises InputError where there is no common norm: a limit that is none, or stages that step apart."""
    if not limit > 0:
        raise InputError(f"a gradient norm of at most {limit}", "leaves nothing to learn from", "give a number above 0")
    if schedule.update != "flush":
        raise InputError(
            f"clipping by the global norm with schedule {schedule.name!r}",
            "its stages update without waiting for one another, so there is never a norm of them all",
            "drop the clipping, or take a schedule with a flush, such as dapple or chimera",
        )
