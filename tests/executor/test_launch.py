"""Ranks start, are watched, and are gone afterwards, however the run ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from chimera.executor.ranks import launch as launcher
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError, RunError
from tests.slowness import slowness

pytestmark = pytest.mark.multiprocess

ROOT = Path(__file__).parents[2]
TARGETS = "tests.executor.targets"
_PATIENCE_S = 240
"""far less than the ranks would live by themselves"""


def _ranks_of(output: Path) -> list[psutil.Process]:
    """Living rank processes that write to `output`."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if (
                "chimera.executor.ranks.rank" in line
                and str(output / "ranks") in line
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _no_process_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert _ranks_of(tmp_path) == []


def test_a_rank_that_aborts_after_leaving_its_result_has_done_its_work(tmp_path: Path) -> None:
    assert launch(f"{TARGETS}:abort_once_done", {}, ranks=2, output=tmp_path, deadline_s=240) == [0, 1]


def test_results_come_back_in_rank_order(tmp_path: Path) -> None:
    results = launch(f"{TARGETS}:echo", {"text": "hello"}, ranks=2, output=tmp_path, deadline_s=240)
    assert [(r["rank"], r["sum"], r["given"]) for r in results] == [(0, 3.0, "hello"), (1, 3.0, "hello")]
    assert results[0]["pid"] != results[1]["pid"] != os.getpid()


def test_an_exception_is_reported_with_rank_action_reason_and_traceback(tmp_path: Path) -> None:
    with pytest.raises(RunError) as error:
        launch(f"{TARGETS}:fail", {"rank": 1}, ranks=2, output=tmp_path, deadline_s=240)
    text = str(error.value)
    assert (
        "rank 1 ended with status 1 (ValueError: the reason)" in text and "1B3" in text and "Traceback" not in text[:60]
    )
    assert "ValueError: the reason" in (tmp_path / "ranks" / "rank-1.stderr").read_text()
    assert error.value.exit_status == 1


def test_a_killed_rank_ends_the_run_promptly(tmp_path: Path) -> None:
    # Its peer would wait for an hour: that the run ends at all shows that the launcher noticed.
    with pytest.raises(RunError, match=r"rank 1 was killed by SIGKILL: its last action: 1F0"):
        launch(f"{TARGETS}:hang", {"rank": 1, "signal": "SIGKILL"}, ranks=2, output=tmp_path, deadline_s=3600)


def test_bad_input_found_by_a_rank_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of the case"):
        launch(f"{TARGETS}:refuse", {}, ranks=2, output=tmp_path, deadline_s=240)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="output folder"):
        launch(f"{TARGETS}:echo", {}, ranks=2, output=tmp_path / "file", deadline_s=240)


def test_a_port_that_is_taken_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1]])
        free = launcher._free_port
        monkeypatch.setattr(launcher, "_free_port", lambda: next(ports, None) or free())
        results = launch(f"{TARGETS}:echo", {"text": "x"}, ranks=2, output=tmp_path, deadline_s=240)
    assert len(results) == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGKILL, -signal.SIGKILL)])
def test_ranks_do_not_survive_the_launcher(tmp_path: Path, number: signal.Signals, status: int) -> None:
    # Python ends itself with SIGINT when KeyboardInterrupt reaches the top: launch raises it again.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in background jobs
        "from pathlib import Path; from chimera.executor.ranks.launch import launch\n"
        f"launch('{TARGETS}:wait', {{}}, ranks=2, output=Path({str(tmp_path)!r}), deadline_s=3600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    _wait_for(lambda: len(list((tmp_path / "ranks").glob("waiting-*"))) == 2)
    assert len(_ranks_of(tmp_path)) == 2
    parent.send_signal(number)
    assert parent.wait(_PATIENCE_S) == status
    _wait_for(lambda: _ranks_of(tmp_path) == [])


def _script(output: Path) -> str:
    return (
        "import json, os; from pathlib import Path; from chimera.executor.ranks.launch import launch\n"
        f"out = Path({str(output)!r})\n"
        f"results = launch('{TARGETS}:echo', {{'text': 'hi'}}, ranks=2, output=out, deadline_s=240)\n"
        "rank = os.environ.get('RANK') or os.environ['SLURM_PROCID']\n"
        "(out / f'result-{rank}').write_text(json.dumps([r['sum'] for r in results]))\n"
    )


def test_under_torchrun_the_processes_are_the_ranks(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_script(tmp_path))
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        timeout=_PATIENCE_S,
        capture_output=True,
    )
    assert [(tmp_path / f"result-{rank}").read_text() for rank in (0, 1)] == ["[3.0, 3.0]"] * 2


def test_under_srun_the_tasks_are_the_ranks(tmp_path: Path) -> None:
    # The variables that srun sets for two tasks on one host (slurm 22.05).
    step = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_JOB_ID": str(os.getpid())}
    tasks = [
        subprocess.Popen(
            [sys.executable, "-c", _script(tmp_path)],
            cwd=ROOT,
            env=os.environ | step | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)},
        )
        for task in range(2)
    ]
    assert [task.wait(_PATIENCE_S) for task in tasks] == [0, 0]
    assert [(tmp_path / f"result-{rank}").read_text() for rank in (0, 1)] == ["[3.0, 3.0]"] * 2


def test_the_wrong_number_of_tasks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"3 ranks were started: the run needs 2"):
        launch(f"{TARGETS}:echo", {}, ranks=2, output=tmp_path, deadline_s=240)


def test_clocks_of_other_hosts_are_compared_with_rank_0s(tmp_path: Path) -> None:
    # Both ranks say they are on different hosts, but share a clock: the true offset is 0, and the error
    # at most half a round trip, well under a millisecond on a quiet machine.
    assert launch(f"{TARGETS}:offset", {}, ranks=2, output=tmp_path, deadline_s=240) == pytest.approx(
        [0, 0], abs=2e6 * slowness()
    )


def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "out" / "ranks").mkdir(parents=True)
    (tmp_path / "out" / "ranks" / "lock").symlink_to(victim)
    with pytest.raises(InputError, match=r"lock .*: is a link"):
        launch(f"{TARGETS}:abort_once_done", {}, ranks=2, output=tmp_path / "out", deadline_s=240)
    assert victim.read_text() == "precious"


def test_a_run_whose_folder_is_removed_ends(tmp_path: Path) -> None:
    output = tmp_path / "out"
    removed: list[float] = []

    def _remove(elapsed_s: float) -> None:
        if not removed and all((output / "ranks" / f"waiting-{rank}").exists() for rank in range(2)):
            shutil.rmtree(output)
            removed.append(elapsed_s)

    with pytest.raises(RunError, match="was removed while its run was going on"):
        launch(f"{TARGETS}:wait", {}, ranks=2, output=output, deadline_s=120, on_progress=_remove)
