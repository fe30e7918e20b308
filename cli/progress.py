"""A progress bar on stderr for work whose length is only about known."""

from __future__ import annotations

__all__ = ["progress"]

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[str, float], None]


@contextmanager
def progress(what: str, expected_s: float) -> Iterator[Advance]:
    """Yields a function (phase, elapsed seconds); the bar stays below 99 % until the block ends.

    Where stderr is no terminal, one line is printed at the start and one at the end.
    """
    from time import monotonic

    started = monotonic()
    if not sys.stderr.isatty():
        print(f"{what} (about {expected_s:.0f} s) ...", file=sys.stderr, flush=True)
        yield lambda phase, elapsed: None
        print(f"{what}: done in {monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(what, total=expected_s)
        yield lambda phase, elapsed: bars.update(task, completed=min(monotonic() - started, 0.99 * expected_s))
        bars.update(task, completed=expected_s)
