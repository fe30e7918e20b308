"""The slot in which a rank leaves what it does, for its launcher and for itself."""

from __future__ import annotations

__all__ = ["Progress"]

import mmap
import os
from pathlib import Path

_SLOT_BYTES, _COUNT_BYTES = 64, 8


class Progress:
    """64 bytes of text and a count, mapped into memory: writing the action that begins costs well under 1 us."""

    def __init__(self, path: Path) -> None:
        with open(path, "w+b") as file:
            # Without blocks of its own, the first write to a full disk would be a SIGBUS.
            os.posix_fallocate(file.fileno(), 0, _SLOT_BYTES + _COUNT_BYTES)
            self._slot = mmap.mmap(file.fileno(), _SLOT_BYTES + _COUNT_BYTES)
        self._count = 0

    @staticmethod
    def read(path: Path) -> str:
        """What the slot of a rank says, dead or alive; empty if it has said nothing."""
        try:
            return _text(path.read_bytes())
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

    def seen(self) -> bytes:
        """The slot as it is: another one means that the rank has moved."""
        return bytes(self._slot[:])

    def text(self) -> str:
        """What the rank is about to do."""
        return _text(self.seen())


def _text(slot: bytes) -> str:
    return slot[:_SLOT_BYTES].decode(errors="replace").strip(" \0")
