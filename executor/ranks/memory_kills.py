"""How many processes the kernel has killed for want of memory where this one lives.

A killed process cannot speak, and its status only says SIGKILL; but the kernel counts its killings
in the memory cgroup of the victim, which ranks share with the launcher that started them.
"""

from __future__ import annotations

__all__ = ["CGROUPS", "MEMBERSHIPS", "memory_files", "memory_kills"]

from pathlib import Path

MEMBERSHIPS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def memory_kills(memberships: Path = MEMBERSHIPS, cgroups: Path = CGROUPS) -> int | None:
    """The kernel's count of the processes of this memory cgroup that it killed; None where it does not tell.

    Reads `memory.events` (cgroup v2; with those of the groups below) or `memory.oom_control` (v1).
    """
    for file in memory_files("memory.events", "memory.oom_control", memberships, cgroups):
        try:
            words = dict(line.split(" ", 1) for line in file.read_text().splitlines())
            return int(words["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
    return None


def memory_files(second: str, first: str, memberships: Path = MEMBERSHIPS, cgroups: Path = CGROUPS) -> list[Path]:
    """Where a file of this process's memory cgroup may stand, by its names in cgroup v2 and v1.

    That is in the group's own folder, or at the top where a container sees no more than its own.
    """
    try:
        lines = memberships.read_text().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            top, name = cgroups / "memory", first
        elif not controllers:
            top, name = cgroups, second
        else:
            continue
        files += [top / path.lstrip("/") / name, top / name]
    return files
