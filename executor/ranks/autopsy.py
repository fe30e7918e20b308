"""What to say about a run that failed: which rank failed first, at which action, and why."""

from __future__ import annotations

__all__ = ["PortTakenError", "died", "late"]

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from chimera.executor.ranks.failure import read_failure
from chimera.executor.ranks.memory_kills import memory_kills
from chimera.executor.ranks.progress import Progress
from chimera.pipeline.errors import ChimeraError, InputError, RunError

_GRACE_S = 0.3
_TAIL_LINES = 12
_PORT_TAKEN = "EADDRINUSE"
_FULL_BYTES = 64 * 1024
_LESS = "use a smaller micro-batch, recomputation or more stages;"
_KILLED = f"if nobody killed it, the kernel did, for want of memory (dmesg tells): {_LESS}"
_SPACE = "make room, or give another output folder;"
_REMEDIES = {
    "can't allocate memory": _LESS,
    "out of memory": _LESS,
    "MemoryError": _LESS,
    "No space left": _SPACE,
    "disk is full": _SPACE,
    "File too large": _SPACE,
}
"""what to do about an error, by a part of its text"""
_STATES = {"T": " (stopped)", "R": " (computing)", "D": " (waiting for a disk)"}
"""of a process that does not just wait, by the kernel's letter"""


class PortTakenError(RunError):
    """Somebody took the rendezvous port between our choosing and using it: try another."""


def died(processes: list[subprocess.Popen[bytes]], folder: Path, kills: int | None) -> ChimeraError:
    """The error of a run in which at least one process has failed; `kills` are the `memory_kills` before it.

    A rank that fails takes its peers along within moments: they lose their connections. So after a
    short grace the cause is a rank that a signal killed, else the one that recorded its failure
    first.
    """
    time.sleep(_GRACE_S)
    failed = {rank: status for rank, process in enumerate(processes) if (status := process.poll())}
    reasons = {rank: read_failure(folder, rank) for rank in failed}
    rank = min(failed, key=lambda r: (failed[r] > 0, reasons[r].get("at_ns", 0), r))
    status, reason = failed[rank], reasons[rank]
    stderr = folder / f"rank-{rank}.stderr"
    tail = _tail(stderr)
    if rank == 0 and _PORT_TAKEN in tail:
        return PortTakenError("the rendezvous port was taken", tail, "try again")
    if "parts" in reason and reason["exit_status"] == InputError.exit_status:
        return InputError(*reason["parts"])
    if status == -signal.SIGKILL and kills is not None and (memory_kills() or 0) > kills:
        return _starved(rank, folder)
    return _failure(rank, status, reason, folder, tail)


def _starved(rank: int, folder: Path) -> RunError:
    how, last = (
        f"rank {rank} was killed by the kernel for want of memory",
        f"its last action: {_last_action(folder, rank)}",
    )
    return RunError(how, last, f"{_LESS} read {folder / f'rank-{rank}.stderr'}")


def _failure(rank: int, status: int, reason: dict[str, Any], folder: Path, tail: str) -> RunError:
    read, last = f"read {folder / f'rank-{rank}.stderr'}", f"its last action: {_last_action(folder, rank)}"
    if status < 0:
        how = f"rank {rank} was killed by {signal.Signals(-status).name}"
        return RunError(how, last, f"{_KILLED} {read}" if -status == signal.SIGKILL else read)
    if "parts" in reason:
        given, derived, remedy = reason["parts"]
        return RunError(f"rank {rank}: {given}", derived, remedy or read)
    said = (reason.get("error", "").splitlines() or tail.splitlines()[-1:] or [""])[0]
    if not said and shutil.disk_usage(folder).free < _FULL_BYTES:
        said = "the disk is full"
    why = f" ({said})" if said else ""
    remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in said), "")
    return RunError(f"rank {rank} ended with status {status}{why}", last, f"{remedy} {read}".strip())


def late(processes: list[subprocess.Popen[bytes]], folder: Path, deadline_s: float) -> RunError:
    """The error of a run that passed its deadline: where every rank was, and which are no more than waiting."""
    states = [_STATES.get(_state(process.pid), "") for process in processes]
    last = "; ".join(f"rank {rank}: {_last_action(folder, rank)}{state}" for rank, state in enumerate(states))
    standing = [f"rank {rank}{state}" for rank, state in enumerate(states) if state]
    behind = f"at {', '.join(standing)}" if standing else "at the rank that stands behind the others"
    given = f"no rank has moved for the deadline of {deadline_s:g} s"
    return RunError(given, f"last actions: {last}", f"raise the deadline, or look {behind}")


def _state(pid: int) -> str:
    """The kernel's letter for what a process does; empty where it does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _last_action(folder: Path, rank: int) -> str:
    return Progress.read(folder / f"rank-{rank}.action") or "starting up"


def _tail(stderr: Path) -> str:
    return "\n".join(stderr.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
