"""One run a folder at a time: a lock that the kernel lets go of when its holder dies."""

from __future__ import annotations

__all__ = ["locked"]

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chimera.pipeline.errors import InputError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder`/lock during the block; InputError with the holder's pid if somebody else does.

    The lock is the kernel's (flock), the file only says whose it is: what a dead process left is
    taken over without asking. On file systems without flock there is no protection.
    """
    with open(folder / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            given, remedy = f"output folder {folder.parent}", "wait for it, or give another folder"
            raise InputError(given, f"process {holder} is running in it", remedy) from None
        except OSError:
            pass
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
