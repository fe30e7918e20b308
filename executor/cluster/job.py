"""A submitted job's folder: what was asked (job.json), and what each task says of itself (tasks/N)."""

from __future__ import annotations

__all__ = ["FINAL", "Job", "Said", "Task", "read_job", "said", "write_job"]

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from chimera.pipeline.errors import InputError
from chimera.pipeline.files.atomic_file import write_text

FINAL = ("done", "failed", "cancelled")
"""what a task says last"""


@dataclass(frozen=True, slots=True)
class Task:
    """A `chimera` command, without the word chimera, and the ranks it runs on."""

    words: tuple[str, ...]
    ranks: int

    @property
    def text(self) -> str:
        """The command on one line, as a shell would take it."""
        return shlex.join(["chimera", *self.words])


@dataclass(frozen=True, slots=True)
class Job:
    """What was submitted: the cluster, SLURM's number, every task's command, and which of them were started."""

    number: int
    cluster: str
    commands: tuple[str, ...]
    started: tuple[int, ...]
    array: bool
    submitted: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """The last word of a task: its state, exit status, SLURM job, host, moment (UTC), command and reason."""

    state: str
    exit_status: int | None
    job: int
    host: str
    at: str
    command: str
    reason: str


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1]
    job: Job


def write_job(job: Job, folder: Path) -> None:
    """Writes FOLDER/job.json, schema_version 1."""
    write_text(folder / "job.json", json.dumps({"schema_version": 1, "job": asdict(job)}, indent=1) + "\n")


def read_job(folder: Path) -> Job:
    """The job of a folder. Raises InputError where none was submitted."""
    path = folder / "job.json"
    try:
        return _File.model_validate_json(path.read_text(encoding="utf-8")).job
    except OSError as error:
        raise InputError(
            f"folder {folder}", "holds no submitted job", "give the --output of a `chimera slurm`"
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise InputError(f"{path}: {place}", problem["msg"], "submit the job again") from error


def said(folder: Path, task: int) -> Said | None:
    """What a task has written last; None before its start."""
    try:
        lines = (folder / "tasks" / str(task)).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    words = dict(line.partition("=")[::2] for line in lines)
    status = words.get("exit_status", "")
    return Said(
        words.get("state", ""),
        int(status) if status else None,
        int(words.get("job") or 0),
        words.get("host", ""),
        words.get("at", ""),
        words.get("command", ""),
        words.get("reason", ""),
    )
