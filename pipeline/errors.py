"""The one exception tree: every error a user can cause says given -> derived -> remedy."""

from __future__ import annotations

__all__ = [
    "ChimeraError",
    "DeadlockError",
    "InputError",
    "RunError",
    "ScheduleError",
    "UnknownNameError",
]

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


class ChimeraError(Exception):
    """Base of all errors of this project; the command prints it as one line and a hint.

    `given` says what was found, `derived` what follows from it, `remedy` what to change; its text holds
    all three. `exit_status` is what the command returns: 2 for bad input, 1 for a failed check or run.
    """

    exit_status = 2

    def __init__(self, given: str, derived: str = "", remedy: str = "") -> None:
        self.given, self.derived, self.remedy = given, derived, remedy
        super().__init__(given, derived, remedy)

    @property
    def problem(self) -> str:
        """What is wrong, in one line without the remedy."""
        return ": ".join(part for part in (self.given, self.derived) if part)

    def __str__(self) -> str:
        return "; ".join(part for part in (self.problem, self.remedy) if part)

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), self.args, self.__dict__)  # subclasses take other arguments


def _remade(kind: type[ChimeraError], args: tuple[str, ...], state: Mapping[str, Any]) -> ChimeraError:
    """An error as it was before it crossed to another process."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class InputError(ChimeraError):
    """Bad input: an option, a unit, a file or a folder that cannot be used (exit status 2)."""


class UnknownNameError(InputError):
    """A name that is not in the list of valid ones; offers the closest and lists them all."""

    def __init__(self, noun: str, name: str, valid: Iterable[str]) -> None:
        names = sorted(valid)
        close = get_close_matches(name, names, n=1, cutoff=0.5)
        remedy = f"did you mean {close[0]!r}? " if close else ""
        super().__init__(f"unknown {noun} {name!r}", "", f"{remedy}valid: {', '.join(names)}")


class ScheduleError(ChimeraError):
    """An unsound schedule: names the device, the position and the action at fault (exit 1)."""

    exit_status = 1

    def __init__(
        self,
        given: str,
        derived: str = "",
        remedy: str = "",
        *,
        device: int | None = None,
        position: int | None = None,
    ) -> None:
        super().__init__(given, derived, remedy)
        self.device, self.position = device, position


class DeadlockError(ScheduleError):
    """Devices that wait for one another for ever; `cycle` holds (device, waits for) pairs."""

    def __init__(
        self,
        given: str,
        derived: str = "",
        remedy: str = "",
        *,
        device: int | None = None,
        position: int | None = None,
        cycle: tuple[tuple[int, int], ...] = (),
    ) -> None:
        super().__init__(given, derived, remedy, device=device, position=position)
        self.cycle = cycle


class RunError(ChimeraError):
    """A real run that failed: which rank, at which action, and why (exit status 1)."""

    exit_status = 1
