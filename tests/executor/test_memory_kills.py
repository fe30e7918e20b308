"""Where the kernel counts whom it killed: cgroups(7), and the kernel's pages on memory in cgroup-v1 and v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimera.executor.ranks.memory_kills import memory_kills

V1 = "9:name=systemd:/\n4:memory:/job\n0::/\n"
V2 = "0::/job\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
EVENTS = "low 0\nhigh 0\nmax 51\noom 2\noom_kill 2\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("memberships", "file", "text", "expected"),
    [
        (V1, "memory/job/memory.oom_control", CONTROL, 3),
        (V1, "memory/memory.oom_control", CONTROL, 3),
        (V2, "job/memory.events", EVENTS, 2),
        (V2, "memory.events", EVENTS, 2),
        (V1, "memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", None),
        (V2, "job/cpu.stat", "", None),
        ("", "memory.events", EVENTS, None),
    ],
    ids=[
        "v1",
        "v1 in a container",
        "v2",
        "v2 in a container",
        "a kernel before 4.13",
        "no memory controller",
        "no cgroups",
    ],
)
def test_the_count_is_read_where_it_stands(
    memberships: str, file: str, text: str, expected: int | None, tmp_path: Path
) -> None:
    (tmp_path / "memberships").write_text(memberships)
    (tmp_path / "cgroups" / file).parent.mkdir(parents=True)
    (tmp_path / "cgroups" / file).write_text(text)
    assert memory_kills(tmp_path / "memberships", tmp_path / "cgroups") == expected


def test_a_system_without_cgroups_tells_nothing(tmp_path: Path) -> None:
    assert memory_kills(tmp_path / "none", tmp_path) is None
