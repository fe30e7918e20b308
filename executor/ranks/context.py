"""What a rank knows about itself."""

from __future__ import annotations

__all__ = ["RankContext"]

from dataclasses import dataclass
from pathlib import Path

import torch

from chimera.executor.ranks.progress import Progress


@dataclass(frozen=True, slots=True)
class RankContext:
    """One rank: its number, how many there are, its device, folder and progress slot.

    `offset_ns` is added to this host's monotonic clock to get rank 0's; 0 on rank 0's own host.
    With `batched` messages that the plan issues together are posted by one call, as NCCL wants it.
    """

    rank: int
    ranks: int
    device: torch.device
    output: Path
    progress: Progress
    pinned: bool
    offset_ns: int = 0
    batched: bool = False
