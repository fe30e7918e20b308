"""Files that appear whole or not at all."""

from __future__ import annotations

__all__ = ["atomic_path", "write_text"]

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from chimera.pipeline.errors import InputError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends well: readers never see half a file.

    Makes the folder if it is missing. The suffix is kept, for writers that choose a format by it.
    Raises InputError where nothing can be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{os.uname().nodename}-{os.getpid()}.{token_hex(4)}.{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A file of our own making: nobody can have put a link there, whose target we would overwrite.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"output {str(path)!r}", f"cannot be written: {reason}", "give another path") from error


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text to `path`, whole or not at all; raises InputError where it cannot be written."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
