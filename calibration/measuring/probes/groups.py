"""The groups of ranks that all-reduces are probed in."""

from __future__ import annotations

__all__ = ["join_group"]

from typing import Any

import torch.distributed as dist

from chimera.executor.ranks.context import RankContext
from chimera.pipeline.grid import Grid


def join_group(context: RankContext, size: int) -> Any:
    """This rank's group of `size` ranks a stride apart, as copies of a pipeline are; None if it is left over.

    Collective: every rank takes part in making every group.
    """
    grid = Grid(context.ranks // size, size)
    groups = [dist.new_group(list(grid.ranks_of([device]))) for device in range(grid.devices)]
    return groups[grid.place_of(context.rank).device] if context.rank in grid.ranks else None
