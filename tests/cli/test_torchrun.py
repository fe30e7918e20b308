"""torchrun starts the ranks, chimera does the rest: one line, and one voice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chimera.pipeline.files.timeline_file import read_timeline

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
CHIMERA = (
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node=2",
    "--no-python",
    sys.executable,
    "-c",
    "from chimera.cli import main; main()",
)


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *CHIMERA, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=120
    )


def test_torchrun_runs_a_schedule_and_rank_0_alone_speaks(tmp_path: Path) -> None:
    done = torchrun(
        "run",
        "chimera",
        "--model",
        "gpt-tiny",
        "--stages",
        2,
        "--microbatches",
        2,
        "--microbatch-size",
        1,
        "--steps",
        2,
        "--output",
        tmp_path,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["devices"] == 2  # one document: two voices would be no JSON
    assert [len(read_timeline(tmp_path / "timeline.json").of_device(device)) for device in range(2)] == [4, 4]


def test_calibration_removes_its_folder_once(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    done = torchrun(
        "calibrate", "--model", "gpt-tiny", "--stages", 2, "--microbatch-size", 1, "--budget", "2s", "--output", profile
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(profile.read_text())["layers"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["profile.json"]


def test_another_number_of_ranks_is_refused_in_one_line(tmp_path: Path) -> None:
    done = torchrun("run", "dapple", "--model", "gpt-tiny", "--stages", 3, "--microbatches", 3, "--output", tmp_path)
    assert done.returncode != 0
    assert "error: 2 ranks were started: the run needs 3" in done.stderr
