"""A job whose time is up, on a real SLURM of virtual nodes; it was submitted when the first of such tests began."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest

from chimera.executor.cluster import wait

pytestmark = [pytest.mark.slurm, pytest.mark.multiprocess, pytest.mark.slow]


def test_the_time_limit_ends_a_job_with_a_clear_line(limited: Path) -> None:
    (ended,) = wait(limited / "job")
    assert (ended.state, ended.exit_status) == ("failed", 143)
    assert ended.reason == "the time limit of 1 min was reached"
    pids = [int(path.read_text()) for path in (limited / "out" / "ranks").glob("rank-*.pid")]
    assert len(pids) == 2
    until = time.monotonic() + 40
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, pids))
    assert not [path for path in limited.rglob("*") if path.name.startswith(".") or path.suffix == ".part"]
    for path in limited.rglob("*.json"):
        json.loads(path.read_text())
