"""A progress bar on stderr for work whose length is only about known."""

from __future__ import annotations

__all__ = ["progress"]

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from executor.ranks.environment import is_leader

Advance = Callable[[str, float], None]
_LINE_EVERY_S = 30.0


@contextmanager
def progress(what: str, expected_s: float) -> Iterator[Advance]:
    """Yields a function (phase, elapsed seconds); the bar stays below 99 % until the block ends.

    Where stderr is no terminal, one line is printed at the start and one at the end, and for long
    work the phase twice a minute. Of several ranks only rank 0 shows anything.
    """
    from time import monotonic

    if not is_leader():
        yield lambda phase, elapsed: None
        return
    started = monotonic()
    if not sys.stderr.isatty():
        print(f"{what} (about {expected_s:.0f} s) ...", file=sys.stderr, flush=True)
        yield _lines(what)
        print(f"{what}: done in {monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=expected_s)

        def _advance(phase: str, elapsed: float) -> None:
            description = f"{what}: {phase}" if phase else what
            bars.update(task, description=description, completed=min(monotonic() - started, 0.99 * expected_s))

        yield _advance
        bars.update(task, completed=expected_s)


def _lines(what: str) -> Advance:
    """Prints the phase now and then, if there is one to print."""
    printed = 0.0

    def _advance(phase: str, elapsed: float) -> None:
        nonlocal printed
        if phase and elapsed - printed >= _LINE_EVERY_S:
            printed = elapsed
            print(f"{what}: {phase}", file=sys.stderr, flush=True)

    return _advance
