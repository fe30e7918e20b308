"""One run a folder at a time: a lock that the kernel lets go of when its holder dies."""

from __future__ import annotations

__all__ = ["locked"]

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from chimera.pipeline.errors import InputError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder`/lock during the block; InputError with the holder's pid if somebody else does.

    The lock is the kernel's (flock), the file only says whose it is: what a dead process left is
    taken over without asking. On file systems without flock there is no protection. A lock that is a link is refused:
    its target would be overwritten.
    """
    with _opened(folder / "lock") as file:
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


def _opened(path: Path) -> TextIO:
    try:
        return open(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666), "r+")
    except OSError as error:
        derived = "is a link" if error.errno == errno.ELOOP else f"cannot be opened: {error.strerror}"
        raise InputError(f"lock {path}", derived, "remove it, or give another output folder") from error
