"""`chimera slurm`: the same commands as jobs of a SLURM cluster."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from chimera.cli.inner_command import chimera_words, refuse_shared_output, task_of
from chimera.cli.reports.output import note, print_json, print_table, usable_folder
from chimera.pipeline.errors import InputError

if TYPE_CHECKING:
    from chimera.executor.cluster import Job, Task
    from chimera.executor.cluster.status import TaskState

HELP = """Submit any chimera command as a SLURM job, one rank a task, and see what became of it.

What a site wants to be asked for stands in a cluster profile: a TOML file, or one that is shipped (hipergator, local).
Nodes and tasks follow from the command's own --stages and --width. Simulate first: it needs no job at all.

Examples:

    chimera slurm --cluster hipergator --dry-run -- run chimera --model gpt-tiny --stages 8 --microbatches 8

    chimera slurm --cluster my-cluster.toml --wait -- validate chimera --stages 2 --microbatches 8 --output out/validate

    chimera slurm --array commands.txt --at-once 4 --output out/many

    chimera slurm status out/slurm

    chimera slurm cancel out/slurm
"""
_ACTIONS = ("status", "cancel")


def command(
    words: list[str] | None = typer.Argument(
        None, metavar="-- COMMAND...", help="A chimera command; or status DIR, or cancel DIR."
    ),
    cluster: str = typer.Option("local", "--cluster", help="A cluster profile: a TOML file, or a shipped one's name."),
    settings: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Overrides a key of the profile, such as request.time=2h."
    ),
    array: Path | None = typer.Option(
        None, "--array", help="A file with one chimera command a line: one array task each."
    ),
    at_once: int | None = typer.Option(None, "--at-once", help="Most array tasks that run together."),
    name: str = typer.Option("chimera", "--name", help="The job's name."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the script; write and submit nothing."),
    wait: bool = typer.Option(False, "--wait", help="Wait for the end; exit status 1 if a task failed."),
    output: Path = typer.Option(
        Path("out/slurm"), "--output", help="The job's folder: script, logs, what each task says last."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> int:
    """Submits, or tells, or cancels."""
    given = list(words or [])
    if given and given[0] in _ACTIONS:
        return _act(given, as_json=as_json)
    from chimera.executor.cluster import load_cluster, render

    if at_once is not None and at_once < 1:
        raise InputError(f"--at-once {at_once}", "would never start a task", "give 1 or more")
    profile = load_cluster(cluster, settings)
    folder = (Path(profile.paths.work) / output).resolve()
    tasks = _tasks(given, array)
    if dry_run:
        script = render(profile, tasks, folder, name=name, array=array is not None, at_once=at_once)
        if as_json:
            print_json(
                {
                    "schema_version": 1,
                    "cluster": profile.name,
                    "commands": [task.text for task in tasks],
                    "script": script,
                }
            )
        else:
            print(script, end="")
        note("dry run: nothing was written or submitted")
        return 0
    from chimera.executor.cluster import submit

    job = submit(profile, tasks, usable_folder(folder), name=name, array=array is not None, at_once=at_once)
    return _submitted(job, tasks, folder, wait=wait, as_json=as_json)


def _tasks(given: list[str], array: Path | None) -> list[Task]:
    if array is None:
        if not given:
            raise InputError(
                "no command", "there is nothing to submit", "write it after --, such as: chimera slurm -- validate"
            )
        return [task_of(given)]
    if given:
        raise InputError(
            "--array with a command", "the file has the commands", f"add {' '.join(given)!r} to {array}, or drop it"
        )
    tasks = [task_of(line) for line in chimera_words(array)]
    refuse_shared_output(tasks)
    return tasks


def _submitted(job: Job | None, tasks: list[Task], folder: Path, *, wait: bool, as_json: bool) -> int:
    if job is None:
        note(f"every line was done before: nothing submitted (delete {folder / 'tasks'} to run them again)")
        return _show(folder, as_json=as_json)
    left_out = len(tasks) - len(job.started)
    done = f", {left_out} done before and left out" if left_out else ""
    note(
        f"submitted: job {job.number}, {len(job.started)} task(s) "
        f"of up to {max(task.ranks for task in tasks)} ranks{done}"
    )
    note(f"next: chimera slurm status {folder}")
    if wait:
        from chimera.executor.cluster import wait as until_ended

        return _report(until_ended(folder), as_json=as_json)
    if as_json:
        print_json({"schema_version": 1, "job": job.number, "output": str(folder), "commands": list(job.commands)})
    return 0


def _act(given: list[str], *, as_json: bool) -> int:
    action, *folders = given
    if len(folders) != 1:
        raise InputError(
            f"chimera slurm {' '.join(given)}", f"{action} takes one folder", f"write: chimera slurm {action} out/slurm"
        )
    folder = Path(folders[0])
    if action == "status":
        return _show(folder, as_json=as_json)
    from chimera.executor.cluster import cancel

    alive = cancel(folder)
    if as_json:
        print_json({"schema_version": 1, "cancelled": [task.task for task in alive]})
    note(f"cancelled: {len(alive)} task(s)" if alive else "nothing to cancel: every task has ended")
    return 0


def _show(folder: Path, *, as_json: bool) -> int:
    from chimera.executor.cluster import states

    return _report(states(folder), as_json=as_json)


def _report(tasks: list[TaskState], *, as_json: bool) -> int:
    """Exit status 1 if a task has ended otherwise than done."""
    if as_json:
        from dataclasses import asdict

        print_json({"schema_version": 1, "tasks": [asdict(task) for task in tasks]})
    else:
        rows = [
            (
                str(task.task),
                task.state,
                "" if task.exit_status is None else str(task.exit_status),
                task.reason,
                task.command,
            )
            for task in tasks
        ]
        print_table(f"{len(tasks)} task(s)", ("task", "state", "exit", "reason", "command"), rows, numbers_from=9)
    return 1 if any(task.ended and task.state != "done" for task in tasks) else 0
