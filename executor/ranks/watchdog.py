"""A rank that watches itself: it ends, with one line, once its progress slot has stood still for too long."""

from __future__ import annotations

__all__ = ["watched"]

import faulthandler
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from chimera.executor.ranks.failure import confess
from chimera.executor.ranks.progress import Progress
from chimera.pipeline.errors import RunError

_LOOKS = 20
"""how often in a deadline"""
_AFTER_PEERS = 1.15
"""in deadlines: waiting for a peer ends with an error of its own after one, and says more"""
_LAST_RESORT = 1.5
"""in deadlines: the interpreter's own timer, for a rank in which no Python runs any more"""


@contextmanager
def watched(progress: Progress, folder: Path, rank: int, deadline_s: float) -> Iterator[None]:
    """Watches over this process during the block, where no launcher of ours does."""
    over = Event()
    watch = Thread(target=_watch, args=(progress, folder, rank, deadline_s, over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
        faulthandler.cancel_dump_traceback_later()


def _watch(progress: Progress, folder: Path, rank: int, deadline_s: float, over: Event) -> None:
    seen, moved = progress.seen(), time.monotonic()
    while not over.wait(deadline_s / _LOOKS):
        now = time.monotonic()
        if progress.seen() != seen:
            seen, moved = progress.seen(), now
        if now - moved > _AFTER_PEERS * deadline_s:
            _end(folder, rank, deadline_s, progress)
        faulthandler.dump_traceback_later(_LAST_RESORT * deadline_s, exit=True)


def _end(folder: Path, rank: int, deadline_s: float, progress: Progress) -> None:
    given = f"rank {rank} has not moved for the deadline of {deadline_s:g} s"
    error = RunError(given, f"its last action: {progress.text()}", "raise the deadline, or look at what it was doing")
    confess(folder, rank, error)
    print(f"error: {error.problem}\nhint: {error.remedy}", file=sys.stderr, flush=True)
    os._exit(error.exit_status)
