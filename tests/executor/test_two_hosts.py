"""Two hosts with addresses, names and a wire of their own: network namespaces of this machine, over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chimera.pipeline.files.timeline_file import read_timeline
from chimera.pipeline.schedules import build
from tests.two_hosts import ADDRESSES, NoNamespacesError, ip, two_hosts

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
_STEPS = 2


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    try:
        with two_hosts() as names:
            yield names
    except NoNamespacesError as reason:
        pytest.skip(str(reason))


def _start(host: str, rank: int, output: Path) -> subprocess.Popen[str]:
    given = {
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": ADDRESSES[0],
        "MASTER_PORT": "29777",
        "PYTHONPATH": str(ROOT),
    }
    chimera = [sys.executable, "-c", "from chimera.cli import main; main()"]
    words = ["run", "chimera", "--model", "gpt-tiny", "--stages", "2", "--microbatches", "4", "--microbatch-size", "1"]
    named = ["unshare", "--uts", "sh", "-c", f'hostname host{rank}; exec "$@"', "sh"]  # so that clocks are compared
    return subprocess.Popen(
        [
            "ip",
            "netns",
            "exec",
            host,
            *named,
            *chimera,
            *words,
            "--steps",
            str(_STEPS),
            "--deadline",
            "240s",
            "--output",
            str(output),
        ],
        env={key: value for key, value in os.environ.items() if key != "GLOO_SOCKET_IFNAME"} | given,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_schedule_runs_over_the_wire_without_being_told_the_interface(hosts: tuple[str, str], tmp_path: Path) -> None:
    ranks = [_start(host, rank, tmp_path) for rank, host in enumerate(hosts)]
    errors = [rank.communicate(timeout=240)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    timeline = read_timeline(tmp_path / "timeline.json")
    assert [len(timeline.of_device(device)) for device in range(2)] == [
        len(row) for row in build("chimera", stages=2, microbatches=4).actions
    ]
    (wire,) = json.loads(ip("-n", hosts[1], "-s", "-json", "link", "show", "dev", "wire1"))
    sent = sum(transfer.size_bytes for transfer in timeline.transfers if transfer.target == 1)
    assert sent > 0 and wire["stats64"]["rx"]["bytes"] > _STEPS * sent
    # both hosts share this machine's clock, so the estimated offset should not make data arrive before it was sent
    assert min(transfer.arrived_ns - transfer.sent_ns for transfer in timeline.transfers) > -5_000_000
