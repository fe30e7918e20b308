"""Cluster profiles, tasks and a fake SLURM that the tests share."""

from __future__ import annotations

import os
from pathlib import Path

from chimera.executor.cluster import Task

KNOWN = {"user": "ada", "group": "engines", "home": "/home/ada", "here": "/home/ada/study", "bin": "/home/ada/env/bin"}
RUN = Task(("run", "chimera", "--model", "gpt-tiny", "--stages", "2", "--microbatches", "4"), 2)
ONE = Task(("simulate", "gpipe", "--stages", "4", "--microbatches", "8", "--forward", "1ms", "--backward", "2ms"), 1)


def fake_program(folder: Path, name: str, body: str) -> None:
    """A program of that name for PATH; every call is added to FOLDER/calls, one a line."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{folder}/calls"\n{body}\n')
    path.chmod(0o755)


def calls(folder: Path) -> list[str]:
    """What was called, in order."""
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


def path_with(folder: Path) -> str:
    """PATH with the fakes first."""
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def says(folder: Path, task: int, state: str, status: str = "", reason: str = "", command: str = "") -> None:
    """Writes what a task's script would write."""
    (folder / "tasks").mkdir(parents=True, exist_ok=True)
    (folder / "tasks" / str(task)).write_text(
        f"state={state}\nexit_status={status}\njob=7\nhost=n0\nat=2026-11-23T11:00:00Z\ncommand={command}\nreason={reason}\n"
    )
