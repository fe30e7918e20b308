"""Submitting a job from its folder, again if need be, and cancelling it."""

from __future__ import annotations

__all__ = ["cancel", "submit"]

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from chimera.executor.cluster.job import Job, Task, read_job, said, write_job
from chimera.executor.cluster.profile import Cluster
from chimera.executor.cluster.scheduler import sbatch, scancel
from chimera.executor.cluster.script import render
from chimera.executor.cluster.status import TaskState, states
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.atomic_file import write_text


def submit(
    cluster: Cluster,
    tasks: Sequence[Task],
    folder: Path,
    *,
    name: str = "chimera",
    array: bool = False,
    at_once: int | None = None,
) -> Job | None:
    """Writes FOLDER/job.sh and submits it. An array's tasks that are done already are left out; None if all are.

    Raises InputError for a folder whose job has not ended and for ranks that do not fit, RunError
    if SLURM refuses.
    """
    folder = folder.resolve()
    _refuse_alive(folder)
    pending = [number for number, task in enumerate(tasks) if not (array and _is_done(folder, number, task))]
    if not pending:
        return None
    script = render(cluster, tasks, folder, name=name, pending=pending, at_once=at_once, array=array)
    for place in ("tasks", "logs"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for stale in (folder / "tasks").iterdir():
        if not stale.name.isdigit() or int(stale.name) in pending or int(stale.name) >= len(tasks):
            stale.unlink(missing_ok=True)
    write_text(folder / "job.sh", script)
    number = sbatch(folder / "job.sh")
    commands = tuple(task.text for task in tasks)
    job = Job(number, cluster.name, commands, tuple(pending), array, datetime.now(UTC).isoformat(timespec="seconds"))
    write_job(job, folder)
    return job


def cancel(folder: Path) -> list[TaskState]:
    """Cancels the job of a folder; returns its tasks that had not ended. Raises as `states` does."""
    alive = [task for task in states(folder) if not task.ended]
    if alive:
        job = read_job(folder)
        write_job(replace(job, cancelled=True), folder)
        scancel(job.number)
    return alive


def _refuse_alive(folder: Path) -> None:
    if not (folder / "job.json").exists():
        return
    alive = [task for task in states(folder) if not task.ended]
    if alive:
        raise InputError(
            f"folder {folder}",
            f"job {read_job(folder).number} has not ended: {len(alive)} task(s) {alive[0].state}",
            f"wait for it, `chimera slurm cancel {folder}`, or give another --output",
        )


def _is_done(folder: Path, number: int, task: Task) -> bool:
    last = said(folder, number)
    return last is not None and last.state == "done" and last.command == task.text
