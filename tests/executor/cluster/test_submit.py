"""Submitting, telling and cancelling, with a SLURM that is faked from strings on PATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimera.executor.cluster import Job, Task, cancel, load_cluster, read_job, states, submit, wait
from chimera.executor.cluster.job import write_job
from chimera.executor.cluster.scheduler import queued
from chimera.pipeline.errors import InputError, RunError
from tests.executor.cluster.sites import KNOWN, ONE, RUN, calls, fake_program, path_with, says

LOCAL = load_cluster("local", known=KNOWN)
TASKS = [RUN, ONE, Task(("schedules",), 1)]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake sbatch that answers 7, an empty queue, and a scancel that does nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    fake_program(folder, "sbatch", "echo '7;virtual'")
    fake_program(folder, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    fake_program(folder, "scancel", "")
    monkeypatch.setenv("PATH", path_with(folder))
    return folder


def _job(folder: Path, tasks: list[Task], number: int = 7) -> None:
    texts = tuple(task.text for task in tasks)
    write_job(
        Job(number, "local", texts, tuple(range(len(tasks))), len(tasks) > 1, "2026-11-23T11:00:00+00:00"), folder
    )


def test_a_submitted_job_leaves_its_script_and_its_record(slurm: Path, tmp_path: Path) -> None:
    job = submit(LOCAL, [RUN], tmp_path / "job")
    assert job is not None and job.number == 7
    assert read_job(tmp_path / "job") == job and job.commands == (RUN.text,)
    assert (tmp_path / "job" / "job.sh").read_text().startswith("#!/bin/bash\n")
    assert calls(slurm) == [f"sbatch --parsable {tmp_path}/job/job.sh"]


def test_finished_tasks_cost_no_call_of_slurm(slurm: Path, tmp_path: Path) -> None:
    _job(tmp_path, TASKS)
    says(tmp_path, 0, "done", "0")
    says(tmp_path, 1, "failed", "1", "error: rank 1 failed")
    says(tmp_path, 2, "cancelled", "143", "cancelled after 3 s")
    found = states(tmp_path)
    assert [(one.state, one.exit_status, one.reason) for one in found] == [
        ("done", 0, ""),
        ("failed", 1, "error: rank 1 failed"),
        ("cancelled", 143, "cancelled after 3 s"),
    ]
    assert calls(slurm) == []


def test_unfinished_tasks_cost_one_call(slurm: Path, tmp_path: Path) -> None:
    fake_program(slurm, "squeue", "printf '7_0|RUNNING\\n7_2|PENDING\\n'")
    _job(tmp_path, TASKS)
    says(tmp_path, 0, "running")
    says(tmp_path, 1, "running")
    assert [(one.state, one.reason) for one in states(tmp_path)] == [
        ("running", "running"),
        ("lost", "left the queue without a last word: the node or its job was killed"),
        ("pending", "pending"),
    ]
    assert calls(slurm) == ["squeue --noheader --array --format=%i|%T --jobs=7"]


def test_a_job_that_slurm_has_forgotten_is_lost_not_an_error(slurm: Path, tmp_path: Path) -> None:
    assert queued(7) == {}
    _job(tmp_path, [RUN])
    assert [one.state for one in states(tmp_path)] == ["lost"]


def test_waiting_looks_at_files_alone(slurm: Path, tmp_path: Path) -> None:
    _job(tmp_path, [RUN])
    says(tmp_path, 0, "done", "0")
    assert [one.state for one in wait(tmp_path)] == ["done"]
    assert calls(slurm) == []


def test_a_finished_line_is_not_run_again(slurm: Path, tmp_path: Path) -> None:
    _job(tmp_path, TASKS)
    for task, state in enumerate(("done", "failed", "done")):
        says(tmp_path, task, state, "0" if state == "done" else "1", command=TASKS[task].text)
    job = submit(LOCAL, TASKS, tmp_path, array=True)
    assert job is not None and job.started == (1,)
    assert "#SBATCH --array=1\n" in (tmp_path / "job.sh").read_text()
    assert [one.state for one in states(tmp_path)] == ["done", "lost", "done"]


def test_a_line_that_has_changed_is_run_again(slurm: Path, tmp_path: Path) -> None:
    _job(tmp_path, TASKS)
    for task in range(3):
        says(tmp_path, task, "done", "0", command=TASKS[task].text)
    changed = [RUN, Task(("schedules", "--json"), 1), TASKS[2]]
    job = submit(LOCAL, changed, tmp_path, array=True)
    assert job is not None and job.started == (1,)


def test_nothing_is_submitted_when_every_line_is_done(slurm: Path, tmp_path: Path) -> None:
    _job(tmp_path, TASKS)
    for task in range(3):
        says(tmp_path, task, "done", "0", command=TASKS[task].text)
    assert submit(LOCAL, TASKS, tmp_path, array=True) is None
    assert calls(slurm) == []


def test_a_folder_whose_job_lives_is_refused(slurm: Path, tmp_path: Path) -> None:
    fake_program(slurm, "squeue", "echo '7|RUNNING'")
    _job(tmp_path, [RUN])
    says(tmp_path, 0, "running")
    with pytest.raises(InputError, match="job 7 has not ended"):
        submit(LOCAL, [RUN], tmp_path)


def test_cancelling_is_one_scancel_and_is_remembered(slurm: Path, tmp_path: Path) -> None:
    fake_program(slurm, "squeue", "echo '7|PENDING'")
    _job(tmp_path, [RUN])
    assert [one.task for one in cancel(tmp_path)] == [0]
    assert calls(slurm)[-1] == "scancel 7"
    fake_program(slurm, "squeue", "")
    assert [(one.state, one.reason) for one in states(tmp_path)] == [("cancelled", "cancelled before its start")]


def test_slurms_own_words_are_passed_on(slurm: Path, tmp_path: Path) -> None:
    fake_program(slurm, "sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1")
    with pytest.raises(RunError, match="sbatch refused: .*Invalid account"):
        submit(LOCAL, [RUN], tmp_path)
    assert not (tmp_path / "job.json").exists()


def test_without_slurm_the_way_out_is_a_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="sbatch: is not on this machine's PATH") as error:
        submit(LOCAL, [RUN], tmp_path / "job")
    assert "--dry-run" in error.value.remedy


def test_a_folder_without_a_job(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no submitted job"):
        states(tmp_path)


def test_a_broken_record_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"schema_version": 1, "job": {"number": "x"}}')
    with pytest.raises(InputError, match=r"job\.json: job\.number"):
        read_job(tmp_path)
