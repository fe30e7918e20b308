"""Faults injected into the real command: it ends in time, names the culprit and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.timeline_file import read_timeline

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
RUN = ["run", "dapple", "--model", "gpt-tiny", "--stages", "2", "--microbatches", "4", "--microbatch-size", "2"]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    # A job in the background starts with Ctrl-C ignored; a user's command does not.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from cli import main; main()"
    command = [sys.executable, "-c", script, *RUN, "--steps", "2000", "--output", str(folder), *more]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ranks_in_mid_run(command: subprocess.Popen[str], folder: Path) -> list[psutil.Process]:
    """The rank processes, in rank order, once a few iterations are in their journals."""
    deadline = time.monotonic() + 60
    journals = [folder / "ranks" / f"rank-{rank}.jsonl" for rank in (0, 1)]
    while time.monotonic() < deadline:
        if all(path.exists() and path.read_text().count("\n") >= 4 for path in journals):
            found = [p for p in psutil.Process(command.pid).children(recursive=True) if "executor.rank" in p.cmdline()]
            return sorted(found, key=lambda process: int(process.environ()["RANK"]))
        assert command.poll() is None, command.communicate()[1]
        time.sleep(0.1)
    raise AssertionError("the ranks did not start")


def ending(command: subprocess.Popen[str], ranks: list[psutil.Process], within_s: float) -> tuple[int, str]:
    """Exit status and stderr, after checking that it ended in time and no rank is left."""
    _, stderr = command.communicate(timeout=within_s)
    _, alive = psutil.wait_procs(ranks, timeout=3)
    assert not alive
    return command.returncode, stderr


def test_a_killed_rank_ends_the_run_and_keeps_the_partial_timeline(tmp_path: Path) -> None:
    command = start(tmp_path)
    ranks = ranks_in_mid_run(command, tmp_path)
    ranks[1].kill()
    status, stderr = ending(command, ranks, within_s=15)
    assert status == 1 and "rank 1" in stderr and "SIGKILL" in stderr
    assert read_timeline(tmp_path / "partial-timeline.json").devices == 2


def test_a_hung_rank_meets_the_deadline_with_every_last_action(tmp_path: Path) -> None:
    command = start(tmp_path, "--deadline", "12s")
    ranks = ranks_in_mid_run(command, tmp_path)
    ranks[0].send_signal(signal.SIGSTOP)
    status, stderr = ending(command, ranks, within_s=60)
    assert status == 1 and "no rank has moved" in stderr and "rank 0" in stderr and "rank 1" in stderr


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    command = start(tmp_path)
    ranks = ranks_in_mid_run(command, tmp_path)
    command.send_signal(signal.SIGINT)
    status, _ = ending(command, ranks, within_s=15)
    assert status == 130
