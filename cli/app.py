"""The application: its subcommands, and how any failure becomes one line and an exit status."""

from __future__ import annotations

__all__ = ["app", "main"]

import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

import chimera
from chimera.cli.reports.output import note
from chimera.cli.usage import Command, is_usage_error, refusal
from chimera.pipeline.errors import ChimeraError, UnknownNameError

_COMMANDS = ("schedules", "schedule", "check", "simulate", "compare", "calibrate", "run", "validate", "models", "slurm")
_INTERRUPTED, _STOPPED = 130, "interrupted; nothing is left running"
_DEBUG = "--debug"
_HELP = """Predict, execute and score pipeline-parallel training schedules.

Examples:

    chimera validate

    chimera compare --stages 4 --microbatches 8 --forward 1ms --backward 2ms

    chimera simulate chimera --stages 8 --microbatches 8 --forward 1ms --backward 2ms

    chimera schedule chimera --stages 4 --microbatches 4
"""


class Commands(TyperGroup):
    """The subcommands; an unknown one is answered with the closest and with all there are."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The subcommand that is meant; UnknownNameError for a name that is none."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise UnknownNameError("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


def _examples_first(text: str) -> dict[str, str]:
    """A command's help with the examples on top, unfolded (which is what a backspace asks click for), for copying."""
    about, _, examples = text.partition("Examples:\n")
    lines = [line for line in examples.splitlines() if line]
    return {"help": "\n".join(["\b", "Examples:", *lines, "", about]), "short_help": about.splitlines()[0]}


app = typer.Typer(
    name="chimera",
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help loads in half the time, and its examples are not folded
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"chimera {chimera.__version__}")
        raise typer.Exit


@app.callback(help=_examples_first(_HELP)["help"])
def _everywhere(
    debug: bool = typer.Option(False, _DEBUG, help="Show a traceback when something fails; accepted anywhere."),
    version: bool = typer.Option(
        False, "--version", help="Say which version this is.", callback=_say_version, is_eager=True
    ),
) -> None:
    """Options of every subcommand."""


for _name in _COMMANDS:
    _module = import_module(f"chimera.cli.{_name}_command")
    app.command(_name, cls=Command, **_examples_first(_module.HELP))(_module.command)  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits: 0 fine, 1 a check failed, 2 wrong usage or input, 130 interrupted."""
    _end_as_interrupted()
    status = _status(sys.argv[1:] if arguments is None else list(arguments))
    if "torch.distributed" in sys.modules and "WORLD_SIZE" in os.environ:
        _leave(status)
    sys.exit(status)


def _end_as_interrupted() -> None:
    """SIGTERM (`timeout`, a scheduler) and SIGHUP (a closed terminal) end a command as Ctrl-C does: work is kept."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP, and that stays so
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _leave(status: int) -> NoReturn:
    """Ends a rank: torch's threads have aborted finished processes while the interpreter was torn down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _status(arguments: list[str]) -> int:
    try:
        result = app(
            args=[argument for argument in arguments if argument != _DEBUG], prog_name="chimera", standalone_mode=False
        )
        if result == _INTERRUPTED:  # what typer makes of an interruption
            note(_STOPPED)
        return result if isinstance(result, int) else 0
    except ChimeraError as error:
        _tell(error, error.remedy, arguments)
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        note(_STOPPED)
        return _INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # rich's own way of saying it
            return _unread()
        raise
    except Exception as error:
        if is_usage_error(error):
            refused = refusal(error)
            _tell(refused, refused.remedy, arguments)
            return refused.exit_status
        fault = ChimeraError(type(error).__name__, str(error) or "no message")
        _tell(fault, f"this is a fault of chimera, not of the input; {_DEBUG} shows where", arguments)
        return 1


def _unread() -> int:
    """Whoever read stdout has gone, which is no failure; without this Python complains when it closes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _tell(error: ChimeraError, remedy: str, arguments: list[str]) -> None:
    """One line and a hint; with --debug, the traceback of what is being handled before them."""
    if _DEBUG in arguments:
        traceback.print_exc()
    note(f"error: {error.problem}")
    if remedy:
        note(f"hint: {remedy}")
