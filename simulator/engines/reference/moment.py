"""The end of a moment: what is decided only when all that happens at one time is known."""

from __future__ import annotations

__all__ = ["Moment"]

from collections.abc import Callable, Generator
from typing import Any

import simpy


class Moment:
    """Puts decisions off until nothing else is left to happen at the present time.

    Events of one time come in an order that means nothing. Whatever depends on who comes first is therefore decided
    at the end, by a rule: which all-reduces start (turn 0), and after all that this brings about, who is
    served by links (turn 1).
    """

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._decisions: dict[int, Callable[[], object]] = {}
        self._ending = False

    def at_its_end(self, turn: int, decide: Callable[[], object]) -> None:
        """Calls `decide` once at the end of this moment."""
        self._decisions[turn] = decide
        if not self._ending:
            self._ending = True
            self._env.process(self._end())

    def _end(self) -> Generator[simpy.Event, Any, None]:
        while self._decisions:
            yield self._env.timeout(0)
            if self._env.peek() > self._env.now:
                self._decisions.pop(min(self._decisions))()
        self._ending = False
