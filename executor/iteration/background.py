"""gloo's threads yield to the thread that computes, on the core they share.

gloo's event loop tries a connection's lock and, when it is taken, asks the kernel for the same event
again at once. A rank and its loop share one pinned core: a loop that is woken while the rank is inside
a send, and takes the core from it, spins for its whole time slice (2 to 5 ms here) for a lock that the
rank cannot give back. Threads of the batch class are not given the core on waking up, and run when
the rank waits or its own slice ends. That may be a whole computation late for a message that needs
the sender's loop, so a rank offers them the core around everything it hands over.
"""

from __future__ import annotations

__all__ = ["let_communication_run", "yield_to_compute"]

import os
from contextlib import suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")
_COMMUNICATION = "gloo"


def let_communication_run() -> None:
    """Offers the core to communication threads that have something to do: about a microsecond if none has."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()


def yield_to_compute() -> None:
    """Puts the communication threads that this process has now into the kernel's batch class (Linux only).

    No privilege is needed. Where the kernel says no, or a thread has just ended, all stays as it was.
    """
    if not hasattr(os, "SCHED_BATCH") or not _TASKS.is_dir():
        return
    for task in _TASKS.iterdir():
        with suppress(OSError):
            if _COMMUNICATION in (task / "comm").read_text():
                os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))
