"""The groups of ranks that all-reduces are probed in."""

from __future__ import annotations

__all__ = ["join_group"]

from typing import Any

import torch.distributed as dist

from chimera.executor.ranks.context import RankContext


def join_group(context: RankContext, size: int) -> Any:
    """This rank's group of `size` ranks a stride apart, as copies of a pipeline are; None if it is left over.

    Collective: every rank takes part in making every group.
    """
    stride = context.ranks // size
    groups = [dist.new_group(list(range(first, stride * size, stride))) for first in range(stride)]
    return groups[context.rank % stride] if context.rank < stride * size else None
