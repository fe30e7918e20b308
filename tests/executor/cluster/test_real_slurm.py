"""Jobs on a real SLURM of virtual nodes, judged by the files they leave and by who is alive afterwards."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from chimera.executor.cluster import Cluster, Job, Task, cancel, load_cluster, render, submit, wait
from chimera.executor.cluster.status import TaskState
from chimera.pipeline.files.timeline_file import read_timeline
from chimera.pipeline.schedules import build

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.multiprocess,
    pytest.mark.usefixtures("limited"),
]  # whose minute passes meanwhile

TINY = ("--model", "gpt-tiny", "--stages", "2", "--microbatch-size", "1")
SLEEPING = ("--compute", "paced", "--forward", "100ms", "--backward", "200ms", "--steps", "100000")


def _local(*settings: str, work: Path) -> Cluster:
    return load_cluster("local", [f"paths.work={work}", *settings])


def _submit(folder: Path, *words: str, settings: tuple[str, ...] = ()) -> Job:
    job = submit(_local(*settings, work=folder), [Task((*words, "--output", "out"), 2)], folder / "job")
    assert job is not None
    return job


def _run(folder: Path, *words: str, settings: tuple[str, ...] = ()) -> TaskState:
    _submit(folder, *words, settings=settings)
    (found,) = wait(folder / "job")
    return found


def _until(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def _ranks(folder: Path) -> list[psutil.Process]:
    """The two ranks of a run, once both have completed a step (the first line is the warm-up's)."""
    journals = [folder / "out" / "ranks" / f"rank-{rank}.jsonl" for rank in range(2)]
    _until(lambda: all(path.exists() and path.read_bytes().count(b"\n") > 1 for path in journals))
    return [psutil.Process(int(path.with_suffix(".pid").read_text())) for path in journals]


def _all_gone(processes: list[psutil.Process]) -> bool:
    return all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in processes)


def _no_half_files(folder: Path) -> None:
    assert not [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".part"]
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())


@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_chimera_runs_over_two_nodes_whose_names_do_not_resolve(tmp_path: Path, launcher: str) -> None:
    with pytest.raises(OSError):
        socket.getaddrinfo("n0", None)
    job = _submit(
        tmp_path, "run", "chimera", *TINY, "--microbatches", "4", "--steps", "2", settings=(f"launcher={launcher}",)
    )
    (ended,) = wait(tmp_path / "job")
    assert (ended.state, ended.exit_status) == ("done", 0), (
        tmp_path / "job" / "logs" / f"{job.number}.err"
    ).read_text()
    about = subprocess.run(
        ["scontrol", "show", "job", str(job.number)], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"NumNodes=2 .*NumTasks=2", about)
    timeline = read_timeline(tmp_path / "out" / "timeline.json")
    expected = build("chimera", stages=2, microbatches=4)
    counts = [len(timeline.of_device(device)) for device in range(2)]
    assert counts == [len(row) for row in expected.actions]
    assert len(json.loads((tmp_path / "out" / "run.json").read_text())["losses"]) == 2


def test_the_closed_loop_over_two_nodes(tmp_path: Path) -> None:
    words = ("validate", "dapple", *TINY, "--microbatches", "2", "--budget", "3s", "--tolerance", "100%")
    _run(tmp_path, *words)
    found = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert [case["schedule"] for case in found["cases"]] == ["dapple"]
    assert found["gradients_match_reference"] and found["max_gradient_difference"] < 1e-10
    _no_half_files(tmp_path)


def test_an_array_runs_each_line_and_again_only_what_failed(tmp_path: Path) -> None:
    schedule = tmp_path / "late.csv"
    lines = [
        Task(("schedule", "gpipe", "--stages", "2", "--microbatches", "2", "--output", "order.txt"), 1),
        Task(("check", str(schedule)), 1),
        Task(("schedules",), 1),
    ]
    where = _local(work=tmp_path)
    submit(where, lines, tmp_path / "job", array=True, at_once=2)
    first = wait(tmp_path / "job")
    assert [one.state for one in first] == ["done", "failed", "done"]
    assert first[1].exit_status == 2 and first[1].reason.startswith("error: ")
    schedule.write_text("0F0,0B0\n")
    again = submit(where, lines, tmp_path / "job", array=True)
    assert again is not None and again.started == (1,)
    second = wait(tmp_path / "job")
    assert [one.state for one in second] == ["done"] * 3
    assert [second[n].at for n in (0, 2)] == [first[n].at for n in (0, 2)]
    assert submit(where, lines, tmp_path / "job", array=True) is None


def test_a_rank_that_dies_ends_the_job_with_a_reason_and_no_process(tmp_path: Path) -> None:
    _submit(tmp_path, "run", "dapple", *TINY, "--microbatches", "2", *SLEEPING)
    ranks = _ranks(tmp_path)
    ranks[1].kill()
    (ended,) = wait(tmp_path / "job")
    assert ended.state == "failed" and ended.exit_status not in (0, None)
    assert re.search("rank 0 failed|task 1: Killed", ended.reason)
    _until(lambda: _all_gone(ranks))


def test_a_cancelled_job_leaves_no_process_and_no_half_file(tmp_path: Path) -> None:
    _submit(tmp_path, "run", "dapple", *TINY, "--microbatches", "2", *SLEEPING)
    ranks = _ranks(tmp_path)
    assert len(cancel(tmp_path / "job")) == 1
    (ended,) = wait(tmp_path / "job")
    assert ended.state == "cancelled" and re.match(r"cancelled after \d+ s", ended.reason)
    _until(lambda: _all_gone(ranks))
    _no_half_files(tmp_path)


def test_the_interruption_before_the_limit_leaves_partial_results(tmp_path: Path) -> None:
    job = _submit(tmp_path, "run", "dapple", *TINY, "--microbatches", "2", "--steps", "100000")
    ranks = _ranks(tmp_path)
    subprocess.run(["scancel", "--signal=INT", str(job.number)], check=True)  # what --signal=INT@60 makes SLURM do
    (ended,) = wait(tmp_path / "job")
    assert ended.state == "failed" and ended.exit_status not in (0, None)
    assert read_timeline(tmp_path / "out" / "partial-timeline.json").spans
    _until(lambda: _all_gone(ranks))


@pytest.mark.parametrize("style", ["gpus", "gres", "gpus-per-node"])
def test_slurm_accepts_requests_for_b200_gpus(tmp_path: Path, style: str) -> None:
    # as large as the virtual nodes are: 2 CPUs, 2000 MB and 2 GPUs each
    small = ("nodes.ranks_per_node=2", "request.cpus_per_rank=1", "request.memory_per_node=1GiB")
    site = load_cluster("hipergator", [*small, f"gpus.style={style}"])
    script = tmp_path / "job.sh"
    script.write_text(render(site, [Task(("validate", "--stages", "4"), 4)], tmp_path))
    done = subprocess.run(["sbatch", "--test-only", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    script.write_text(script.read_text().replace("b200", "h100").replace("hpg-h100", "hpg-b200"))
    assert subprocess.run(["sbatch", "--test-only", script], capture_output=True).returncode != 0
