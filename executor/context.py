"""What a rank knows about itself, and the slot in which it leaves its last action for the launcher."""

from __future__ import annotations

__all__ = ["Progress", "RankContext"]

import faulthandler
import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

_SLOT_BYTES, _COUNT_BYTES = 64, 8
_REARM_SHARE = 0.1


class Progress:
    """64 bytes of text and a count, mapped into memory: writing the action that begins costs well under 1 us.

    With `deadline_s` a rank that has not passed `at` for so long writes where it hangs to stderr
    and ends: the last resort where no launcher of ours watches.
    """

    def __init__(self, path: Path, deadline_s: float | None = None) -> None:
        with open(path, "w+b") as file:
            # Without blocks of its own, the first write to a full disk would be a SIGBUS.
            os.posix_fallocate(file.fileno(), 0, _SLOT_BYTES + _COUNT_BYTES)
            self._slot = mmap.mmap(file.fileno(), _SLOT_BYTES + _COUNT_BYTES)
        self._count, self._armed_s, self._deadline_s = 0, 0.0, deadline_s

    @staticmethod
    def read(path: Path) -> str:
        """What the slot of a rank says, dead or alive; empty if it has said nothing."""
        try:
            return path.read_bytes()[:_SLOT_BYTES].decode(errors="replace").strip(" \0")
        except OSError:
            return ""

    @staticmethod
    def encode(text: str) -> bytes:
        """The bytes that `write` wants: prepared once for what is written often."""
        return text.encode()[:_SLOT_BYTES].ljust(_SLOT_BYTES)

    def write(self, encoded: bytes) -> None:
        """Records what the rank is about to do."""
        self._slot[:_SLOT_BYTES] = encoded

    def at(self, text: str) -> None:
        """Records what the rank is about to do, from plain text, and that it has moved at all."""
        self.write(self.encode(text))
        self._count += 1
        self._slot[_SLOT_BYTES:] = self._count.to_bytes(_COUNT_BYTES, "little")
        now = time.monotonic()
        if self._deadline_s is not None and now - self._armed_s > _REARM_SHARE * self._deadline_s:
            self._armed_s = now
            faulthandler.dump_traceback_later(self._deadline_s, exit=True)


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
