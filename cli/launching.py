"""Where a command that runs ranks has checked everything that does not depend on the machine it is given on."""

from __future__ import annotations

__all__ = ["check_only", "checked", "checking"]

from collections.abc import Callable
from contextvars import ContextVar

_checking: ContextVar[bool] = ContextVar("checking", default=False)


class _CheckedError(Exception):
    """The command would go on now."""


def checking() -> bool:
    """Whether a command is called for its refusals alone, on behalf of another machine."""
    return _checking.get()


def checked() -> None:
    """Called by a command when nothing is left to refuse but what this machine lacks; returns if it is to run here."""
    if _checking.get():
        raise _CheckedError


def check_only(command: Callable[[], object]) -> None:
    """Calls a command for its refusals alone: it ends, without a trace, where it calls `checked`."""
    token = _checking.set(True)
    try:
        command()
    except _CheckedError:
        pass
    finally:
        _checking.reset(token)
