"""A memory cgroup with a limit, beneath this process's own (v1) or beside it (v2): in it memory runs out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

_CGROUPS = Path("/sys/fs/cgroup")


class NoCgroupError(Exception):
    """Why no memory cgroup can be made on this machine."""


@contextmanager
def memory_cgroup(limit_bytes: int) -> Iterator[tuple[str, ...]]:
    """The words that start a command in a new cgroup, which is gone afterwards. Raises NoCgroupError."""
    parent, limit = _place()
    folder = parent / f"chimera-{uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        raise NoCgroupError(f"no memory cgroup can be made: {error}") from error
    try:
        try:
            (folder / limit).write_text(str(limit_bytes))
            for swap, value in (("memory.swappiness", "0"), ("memory.swap.max", "0")):
                with suppress(OSError):  # one of each version, and neither where the kernel has no swap
                    if (folder / swap).exists():
                        (folder / swap).write_text(value)
        except OSError as error:
            raise NoCgroupError(f"a memory cgroup takes no limit: {error}") from error
        yield "sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"
    finally:
        _remove(folder)


def _place() -> tuple[Path, str]:
    """(the folder to make it in, the name of its limit)."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            own = _CGROUPS / "memory" / path.lstrip("/")
            return own if own.is_dir() else _CGROUPS / "memory", "memory.limit_in_bytes"
        if not controllers and (_CGROUPS / "cgroup.controllers").exists():
            # Below a group that has processes none of its own can be limited: a sibling can.
            own = _CGROUPS / path.lstrip("/")
            return own.parent if own != _CGROUPS and own.is_dir() else _CGROUPS, "memory.max"
    raise NoCgroupError("the kernel has no memory cgroups")


def _remove(folder: Path) -> None:
    for _ in range(50):  # a process that has just ended may still be listed
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.1)
    folder.rmdir()
