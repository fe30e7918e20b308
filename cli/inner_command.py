"""A chimera command that is to run elsewhere: checked here, with the ranks that it needs."""

from __future__ import annotations

__all__ = ["chimera_words", "refuse_shared_output", "task_of"]

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chimera.cli.launching import check_only
from chimera.cli.options.selection import select
from chimera.pipeline.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from chimera.executor.cluster import Task

_RANKED = ("run", "validate", "calibrate")
_HERE = "slurm"


def chimera_words(path: Path) -> list[list[str]]:
    """The commands of a file, one a line, each as words; empty lines and # comments are skipped.

    Raises InputError for a file that cannot be read or has no command, and for an open quote.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--array {path}", f"cannot be read: {error}", "give a text file, one chimera command a line"
        ) from error
    commands = []
    for number, line in enumerate(lines, start=1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise InputError(f"{path}, line {number}", str(error).lower(), "close the quote") from error
        if words:
            commands.append(words)
    if not commands:
        raise InputError(f"--array {path}", "has no command", "write one chimera command a line")
    return commands


def task_of(words: Sequence[str]) -> Task:
    """The task of a command, given with or without the word chimera, as its own options say.

    Existing files named in it become absolute, since a job works in another folder. Raises what that
    command would raise, as far as it does not depend on the machine: cores, memory, folders.
    """
    from chimera.executor.cluster import Task

    plain = list(words[1:] if words and words[0] == "chimera" else words)
    name, *arguments = plain or [""]
    if name == _HERE:
        raise InputError(
            "chimera slurm inside chimera slurm", "a job does not submit itself", "name the command to run"
        )
    context = _context(name, arguments)
    ranks = _ranks(name, context.params)
    if name in _RANKED:
        check_only(partial(context.command.invoke, context))
    return Task((name, *map(_absolute, arguments)), ranks)


def refuse_shared_output(tasks: Sequence[Task]) -> None:
    """InputError for two commands that run ranks and write to the same place: the later one would undo the earlier."""
    taken: dict[Path, int] = {}
    for number, task in enumerate(tasks):
        name, *arguments = task.words
        if name not in _RANKED:
            continue
        output = Path(_context(name, arguments).params["output"])
        if output in taken:
            raise InputError(
                f"tasks {taken[output]} and {number}", f"both write to {output}", "give each its own --output"
            )
        taken[output] = number


def _context(name: str, arguments: list[str]) -> Any:
    """The command with its parameters, parsed by itself: what it would refuse is refused before it queues."""
    import typer

    from chimera.cli.app import app

    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if name not in commands:
        raise UnknownNameError("command", name, commands)
    return commands[name].make_context(f"chimera {name}", list(arguments))


def _ranks(name: str, given: dict[str, Any]) -> int:
    if name not in _RANKED:
        return 1
    stages, width = given["stages"], int(given.get("width", 1))
    if width < 1 or (stages is not None and stages < 1):
        raise InputError(f"--stages {stages} --width {width}", "need at least one rank", "give 1 or more")
    if stages is None:  # a file says itself how many devices it is for
        stages = max(select(item, None, given["microbatches"], []).devices for item in given["names"])
    return int(stages) * width


def _absolute(argument: str) -> str:
    option, separator, value = argument.partition("=")
    if separator and option.startswith("--"):
        return f"{option}={_absolute(value)}"
    return str(Path(argument).resolve()) if Path(argument).is_file() else argument
