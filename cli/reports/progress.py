"""A progress bar on stderr for work whose length is only about known."""

from __future__ import annotations

__all__ = ["counted", "progress"]

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from chimera.executor.ranks.environment import is_leader


class Advance(Protocol):
    """Says how far the work is."""

    def __call__(self, phase: str, elapsed_s: float, done: float | None = None) -> None:
        """A phase, the seconds since the start, and the share that is done where that is known."""


_LINE_EVERY_S = 30.0


@contextmanager
def progress(what: str, expected_s: float | None) -> Iterator[Advance]:
    """Yields a function to say how far the work is; the bar stays below 99 % until the block ends.

    `expected_s` None: how long it takes is seen from the share that is done.

    Where stderr is no terminal, one line is printed at the start and one at the end, and for long
    work the phase twice a minute. Of several ranks only rank 0 shows anything.
    """
    from time import monotonic

    if not is_leader():
        yield _silent
        return
    started = monotonic()
    if not sys.stderr.isatty():
        about = "" if expected_s is None else f" (about {expected_s:.0f} s)"
        print(f"{what}{about} ...", file=sys.stderr, flush=True)
        yield _lines(what)
        print(f"{what}: done in {monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),  # names of others are no markup
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=None if expected_s is None else 1.0)

        def _advance(phase: str, elapsed_s: float, done: float | None = None) -> None:
            share = (monotonic() - started) / expected_s if expected_s is not None else done
            known = {} if share is None else {"total": 1.0, "completed": min(share, 0.99)}
            bars.update(task, description=f"{what}: {phase}" if phase else what, **known)  # type: ignore[arg-type]

        yield _advance
        bars.update(task, total=1.0, completed=1.0)


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Yields a function to name each of so many results as it comes, one line each where stderr is no terminal."""
    from time import monotonic

    if not is_leader():
        yield lambda _: None
        return
    with progress(what, None) as advance:
        started, came = monotonic(), 0

        def _came(name: str) -> None:
            nonlocal came
            came += 1
            if sys.stderr.isatty():
                advance(f"{came} of {total}, {name}", monotonic() - started, came / total)
            else:
                print(f"{came} of {total}: {name}", file=sys.stderr, flush=True)

        yield _came


def _silent(phase: str, elapsed_s: float, done: float | None = None) -> None:
    """What ranks other than the first say."""


def _lines(what: str) -> Advance:
    """Prints the phase now and then, if there is one to print."""
    printed = 0.0

    def _advance(phase: str, elapsed_s: float, done: float | None = None) -> None:
        nonlocal printed
        if phase and elapsed_s - printed >= _LINE_EVERY_S:
            printed = elapsed_s
            print(f"{what}: {phase}", file=sys.stderr, flush=True)

    return _advance
