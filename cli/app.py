"""The application: its subcommands, and how any failure becomes one line and an exit status."""

from __future__ import annotations

__all__ = ["app", "main"]

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from cli.output import note
from pipeline.errors import ChimeraError

_COMMANDS = ("schedules", "schedule", "check", "simulate", "compare", "calibrate", "run", "validate")
_INTERRUPTED = 130
_HELP = """Predict, execute and score pipeline-parallel training schedules.

Examples:

    chimera compare --stages 4 --microbatches 8 --forward 1ms --backward 2ms

    chimera simulate chimera --stages 8 --microbatches 8 --forward 1ms --backward 2ms

    chimera validate
"""

app = typer.Typer(
    name="chimera", help=_HELP, no_args_is_help=True, add_completion=True, rich_markup_mode="markdown",
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


@app.callback()
def _everywhere(debug: bool = typer.Option(False, "--debug", help="Show a traceback when something fails.")) -> None:
    """Options of every subcommand."""
    if debug:
        os.environ["CHIMERA_DEBUG"] = "1"


for _name in _COMMANDS:
    _module = import_module(f"cli.{_name}_command")
    app.command(_name, help=_module.HELP)(_module.command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits: 0 fine, 1 a check failed, 2 wrong usage or input, 130 interrupted."""
    sys.exit(_status(sys.argv[1:] if arguments is None else list(arguments)))


def _status(arguments: list[str]) -> int:
    os.environ.pop("CHIMERA_DEBUG", None)
    try:
        result = app(args=arguments, prog_name="chimera", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except ChimeraError as error:
        if "CHIMERA_DEBUG" in os.environ:
            raise
        note(f"error: {error}")
        if error.remedy:
            note(f"hint: {error.remedy}")
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        note("interrupted; nothing is left running")
        return _INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as error:
        # Usage errors are click's, which typer may bring along under a private name.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return 2
