"""What a rank knows about itself, and the slot in which it leaves its last action for the launcher."""

from __future__ import annotations

__all__ = ["Progress", "RankContext"]

import mmap
from dataclasses import dataclass
from pathlib import Path

import torch

_SLOT_BYTES = 64


class Progress:
    """A 64-byte file, mapped into memory: writing the action that begins costs well under 1 us."""

    def __init__(self, path: Path) -> None:
        with open(path, "w+b") as file:
            file.truncate(_SLOT_BYTES)
            self._slot = mmap.mmap(file.fileno(), _SLOT_BYTES)

    @staticmethod
    def encode(text: str) -> bytes:
        """The bytes that `write` wants: prepared once for what is written often."""
        return text.encode()[:_SLOT_BYTES].ljust(_SLOT_BYTES)

    def write(self, encoded: bytes) -> None:
        """Records what the rank is about to do."""
        self._slot[:] = encoded

    def at(self, text: str) -> None:
        """Records what the rank is about to do, from plain text."""
        self.write(self.encode(text))


@dataclass(frozen=True, slots=True)
class RankContext:
    """One rank: its number, how many there are, its device, folder and progress slot.

    `offset_ns` is added to this host's monotonic clock to get rank 0's; 0 on rank 0's own host.
    """

    rank: int
    ranks: int
    device: torch.device
    output: Path
    progress: Progress
    pinned: bool
    offset_ns: int = 0
