"""How many processes the kernel has killed for want of memory where this one lives.

A killed process cannot speak, and its status only says SIGKILL; but the kernel counts its killings
in the memory cgroup of the victim, which ranks share with the launcher that started them.
"""

from __future__ import annotations

__all__ = ["memory_kills"]

from collections.abc import Iterator
from pathlib import Path

_MEMBERSHIPS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def memory_kills(memberships: Path = _MEMBERSHIPS, cgroups: Path = _CGROUPS) -> int | None:
    """The kernel's count of the processes of this memory cgroup that it killed; None where it does not tell.

    Reads `memory.events` (cgroup v2; with those of the groups below) or `memory.oom_control` (v1).
    """
    try:
        lines = memberships.read_text().splitlines()
    except OSError:
        return None
    for file in _counters(lines, cgroups):
        try:
            words = dict(line.split(" ", 1) for line in file.read_text().splitlines())
            return int(words["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
    return None


def _counters(lines: list[str], cgroups: Path) -> Iterator[Path]:
    """Where the count may stand: in the group's own folder, or at the top where a container sees no more than its own."""
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            top, name = cgroups / "memory", "memory.oom_control"
        elif not controllers:
            top, name = cgroups, "memory.events"
        else:
            continue
        yield top / path.lstrip("/") / name
        yield top / name
