"""What became of a job: its tasks' own files first, SLURM's queue only for those that have not ended."""

from __future__ import annotations

__all__ = ["TaskState", "states", "wait"]

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chimera.executor.cluster.job import FINAL, Job, Said, read_job, said
from chimera.executor.cluster.scheduler import queued

_LOOK_S, _ASK_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task: pending, running, done, failed, cancelled, or lost (gone from the queue without a last word)."""

    task: int
    command: str
    state: str
    exit_status: int | None = None
    reason: str = ""
    at: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in (*FINAL, "lost")


def states(folder: Path) -> list[TaskState]:
    """Every task's state, with at most one call of squeue, and none once all tasks have said their last word.

    Raises InputError where no job was submitted, or squeue is needed and missing.
    """
    job = read_job(folder)
    words = [said(folder, task) for task in range(len(job.commands))]
    if all(one is not None and one.state in FINAL for one in words):
        return _judged(job, words, {})
    queue = queued(job.number)
    # a task that ended between our look at its file and at the queue would seem lost
    return _judged(job, [said(folder, task) for task in range(len(job.commands))], queue)


def wait(folder: Path) -> list[TaskState]:
    """Waits until every task has ended, looking at files; asks squeue once a minute, for tasks that died silently."""
    job = read_job(folder)
    asked = time.monotonic()
    while True:
        words = [said(folder, task) for task in range(len(job.commands))]
        if all(one is not None and one.state in FINAL for one in words):
            return _judged(job, words, {})
        if time.monotonic() - asked >= _ASK_S:
            asked = time.monotonic()
            latest = states(folder)
            if all(one.ended for one in latest):
                return latest
        time.sleep(_LOOK_S)


def _judged(job: Job, words: list[Said | None], queue: Mapping[int, str]) -> list[TaskState]:
    return [_one(job, task, one, queue.get(task)) for task, one in enumerate(words)]


def _one(job: Job, task: int, last: Said | None, queue: str | None) -> TaskState:
    command = job.commands[task]
    if last is not None and last.state in FINAL:
        return TaskState(task, command, last.state, last.exit_status, last.reason, last.at)
    if queue is not None:
        return TaskState(task, command, "running" if last is not None else "pending", None, queue.lower())
    if job.cancelled:
        return TaskState(
            task, command, "cancelled", None, "cancelled before its start" if last is None else "cancelled"
        )
    reason = (
        "left the queue without a last word: the node or its job was killed"
        if last
        else "left the queue without a start"
    )
    return TaskState(task, command, "lost", None, reason)
