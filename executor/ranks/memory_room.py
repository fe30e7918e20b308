"""How much memory processes that are started here can still take."""

from __future__ import annotations

__all__ = ["available_bytes"]

from contextlib import suppress
from pathlib import Path

import psutil

from chimera.executor.ranks.memory_kills import CGROUPS, MEMBERSHIPS, memory_files

_NAMES = (
    ("memory.max", "memory.limit_in_bytes"),
    ("memory.current", "memory.usage_in_bytes"),
    ("memory.stat", "memory.stat"),
)
"""limit, usage and what it is made of, in cgroup v2 and v1"""
_CACHED = ("file", "total_cache", "cache")


def available_bytes(memberships: Path = MEMBERSHIPS, cgroups: Path = CGROUPS) -> int:
    """What the system has left, or the memory cgroup of this process where that is less.

    Cached files are left, too: the kernel drops them when memory is asked for.
    """
    left = [int(psutil.virtual_memory().available)]
    limits, usages, stats = (memory_files(*names, memberships, cgroups) for names in _NAMES)
    for limit, usage, stat in zip(limits, usages, stats, strict=True):
        with suppress(OSError, ValueError):  # no such file, or no limit
            left.append(int(limit.read_text()) - int(usage.read_text()) + _cached_bytes(stat))
    return max(min(left), 0)


def _cached_bytes(stat: Path) -> int:
    words = dict(line.split(" ", 1) for line in stat.read_text().splitlines())
    return int(next((words[name] for name in _CACHED if name in words), 0))
