"""Command lines that cannot be understood: refused in the house's form, and options that contradict themselves."""

from __future__ import annotations

__all__ = ["Command", "is_usage_error", "refusal"]

import re
from typing import Any

from typer.core import TyperCommand

from chimera.pipeline.errors import ChimeraError, InputError, UnknownNameError

_CHOICES = re.compile(r"'([^']*)' is not one of (.*)\.")
_NUMBERS = {"valid integer": "is not a whole number", "valid number": "is not a number"}


class Command(TyperCommand):
    """A subcommand that refuses an option given twice with different values, instead of taking the last."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """As click's, behind the refusal."""
        for parameter in self.params:
            if not getattr(parameter, "multiple", False) and not getattr(parameter, "is_flag", False):
                _refuse_contradiction(_values(args, parameter.opts))
        return super().parse_args(ctx, args)


def _values(args: list[str], flags: list[str]) -> list[tuple[str, str]]:
    """The (flag, value) pairs of one option among the words before `--`."""
    words = args[: args.index("--")] if "--" in args else args
    pairs = []
    for place, word in enumerate(words):
        flag, separator, value = word.partition("=")
        if flag.startswith("-") and flag in flags:
            pairs.append((flag, value if separator else "".join(words[place + 1 : place + 2])))
    return pairs


def _refuse_contradiction(given: list[tuple[str, str]]) -> None:
    if len({value for _, value in given}) > 1:
        shown = " ".join(f"{flag} {value}" for flag, value in given)
        raise InputError(shown, "says two things", f"give {given[0][0]} once")


def is_usage_error(error: Exception) -> bool:
    """Whether click could not make sense of a command line; typer brings click along under a private name."""
    return callable(getattr(error, "format_message", None))


def refusal(error: Any) -> ChimeraError:
    """What click says, as given, derived and remedy."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "chimera"
    examples = f"{command} --help starts with examples"
    if (name := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        close = f"did you mean {error.possibilities[0]}? " if error.possibilities else ""
        return InputError(f"unknown option {name} of {command}", "", close + examples)
    parameter, message = getattr(error, "param", None), error.format_message()
    if parameter is None:
        return InputError(message.rstrip("."), "", examples)
    flag = (
        max(parameter.opts, key=len)
        if parameter.param_type_name == "option"
        else (parameter.metavar or parameter.name.upper())
    )
    if choices := _CHOICES.search(message):
        return UnknownNameError(f"value of {flag}", choices[1], re.findall(r"'([^']*)'", choices[2]))
    if message.startswith("Missing"):
        return InputError(f"{command} without {flag}", "", f"{parameter.help or ''} {examples}".strip())
    derived = next(
        (words for sign, words in _NUMBERS.items() if sign in message),
        message.partition(": ")[2].removeprefix("Value error, "),
    )
    return InputError(f"the value of {flag}", derived.rstrip("."), examples)
