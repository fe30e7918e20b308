"""How much memory is left here: the system's, or the control group's where that is less."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from chimera.executor.ranks.memory_room import available_bytes

MIB = 1 << 20


def group(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "cgroups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "cgroups"


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        (
            "0::/job",
            {
                "job/memory.max": f"{100 * MIB}",
                "job/memory.current": f"{70 * MIB}",
                "job/memory.stat": f"anon 9\nfile {20 * MIB}",
            },
        ),
        (
            "4:memory:/job",
            {
                "memory/job/memory.limit_in_bytes": f"{100 * MIB}",
                "memory/job/memory.usage_in_bytes": f"{70 * MIB}",
                "memory/job/memory.stat": f"cache 1\ntotal_cache {20 * MIB}",
            },
        ),
    ],
)
def test_a_control_group_leaves_its_limit_less_what_it_uses_but_for_cached_files(
    tmp_path: Path, membership: str, files: dict[str, str]
) -> None:
    """kernel.org, cgroup-v2 and v1/memory: `file` and `total_cache` are page cache, reclaimed under pressure."""
    (tmp_path / "memberships").write_text(membership)
    assert available_bytes(tmp_path / "memberships", group(tmp_path, files)) == 50 * MIB


@pytest.mark.parametrize(
    "files", [{}, {"job/memory.max": "max\n", "job/memory.current": "7", "job/memory.stat": "file 0"}]
)
def test_without_a_limit_it_is_the_systems(tmp_path: Path, files: dict[str, str]) -> None:
    (tmp_path / "memberships").write_text("0::/job")
    found = available_bytes(tmp_path / "memberships", group(tmp_path, files))
    assert 0 < found <= psutil.virtual_memory().total
