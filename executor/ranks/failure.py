"""What a failed rank says of itself: in a file for whoever asks, and in one line where nobody else speaks for it."""

from __future__ import annotations

__all__ = ["confess", "explained", "read_failure"]

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from chimera.executor.ranks.environment import Membership
from chimera.executor.ranks.progress import Progress
from chimera.pipeline.errors import ChimeraError, RunError
from chimera.pipeline.files.atomic_file import write_text

_PLAINLY = {
    "onnection reset": "a peer is gone: its connection was reset",
    "onnection closed": "a peer is gone: its connection was closed",
    "Broken pipe": "a peer is gone: its connection is broken",
    "Timed out waiting": "no word from a peer for the deadline",
    "imeout after": "no word from a peer for the deadline",
    "imed out after": "no word from a peer for the deadline",
    "Connection timed out": "the network no longer reaches a peer",
    "No route to host": "the network no longer reaches a peer",
    "etwork is unreachable": "the network no longer reaches a peer",
}
"""what a part of a text by gloo or torch's store means"""


def confess(folder: Path, rank: int, error: BaseException) -> None:
    """Leaves when and why a rank failed: the first to fail is the cause, the others follow from it."""
    said = error.problem if isinstance(error, ChimeraError) else str(error)
    reason: dict[str, Any] = {"at_ns": time.monotonic_ns(), "error": f"{type(error).__name__}: {said}"}
    if isinstance(error, ChimeraError):
        reason |= {"exit_status": error.exit_status, "parts": [error.given, error.derived, error.remedy]}
    with suppress(ChimeraError):  # a full disk must not hide what went wrong
        write_text(folder / f"rank-{rank}.failed", json.dumps(reason))


def read_failure(folder: Path, rank: int) -> dict[str, Any]:
    """What a rank left in `confess`; empty if it left nothing."""
    try:
        confession: dict[str, Any] = json.loads((folder / f"rank-{rank}.failed").read_text())
    except (OSError, ValueError):
        return {}
    return confession


def explained(error: Exception, member: Membership, folder: Path) -> ChimeraError:
    """The error of a rank that has no launcher of ours to speak for it."""
    if isinstance(error, ChimeraError):
        return error
    if "EADDRINUSE" in str(error):
        given = f"rank {member.rank} cannot listen at {member.address}:{member.port}"
        return RunError(given, "another program has the port", "set MASTER_PORT to a free one")
    said = (str(error).splitlines() or ["no message"])[0]
    meant = next((meaning for sign, meaning in _PLAINLY.items() if sign in said), None)
    last = Progress.read(folder / f"rank-{member.rank}.action") or "starting up"
    why = f"{type(error).__name__}: {said}" if meant is None else meant
    remedy = "--debug shows where" if meant is None else "look at the other ranks and at the network between them"
    return RunError(f"rank {member.rank} failed ({why})", f"its last action: {last}", remedy)
