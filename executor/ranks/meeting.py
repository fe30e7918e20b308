"""Where the ranks of a run find one another: a store that rank 0, or torchrun, keeps at one address."""

from __future__ import annotations

__all__ = ["meeting_point"]

import time
from datetime import timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import psutil
from torch.distributed.rendezvous import rendezvous

from chimera.executor.ranks.environment import Membership
from chimera.executor.ranks.failure import read_failure
from chimera.pipeline.errors import RunError

_LOOK_S = 0.25
_LAST_WORD_S = 2.0
_CLOCK_ERROR_S = 2.0
_MET: list[Any] = []


def meeting_point(member: Membership, folder: Path, deadline_s: float) -> Any:
    """The ranks' store, one for all launches of this process: a second one could meet the first one's end.

    torch waits for ever where something else listens at the address. So the waiting is left to a
    thread: RunError with rank 0's own words if it says in `folder` that it failed, or when
    `deadline_s` are over.
    """
    if not _MET:
        _MET.append(_meet(member, folder, deadline_s))
    return _MET[0]


def _meet(member: Membership, folder: Path, deadline_s: float) -> Any:
    joined: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_join, args=(joined, deadline_s), daemon=True).start()
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        try:
            store = joined.get(timeout=_LOOK_S)
        except Empty:
            _refuse_without_leader(member, folder)
            continue
        if isinstance(store, Exception):
            _hear_leader(member, folder)
            raise store
        return store
    given = f"rank {member.rank} found no rank 0 at {member.address}:{member.port} for {deadline_s:g} s"
    raise RunError(
        given, "it has not started, or another program has the port", "look at rank 0, or set MASTER_PORT to a free one"
    )


def _join(joined: SimpleQueue[Any], deadline_s: float) -> None:
    try:
        store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=deadline_s)))
        joined.put(store)
    except Exception as error:
        joined.put(error)


def _hear_leader(member: Membership, folder: Path) -> None:
    """Gives rank 0 a moment to say that it is its fault."""
    until = time.monotonic() + _LAST_WORD_S
    while member.rank and time.monotonic() < until:
        _refuse_without_leader(member, folder)
        time.sleep(_LOOK_S)


def _refuse_without_leader(member: Membership, folder: Path) -> None:
    """Raises RunError if rank 0 has failed since this process started; an older word is of another run."""
    word = folder / "rank-0.failed"
    if member.rank == 0 or not word.exists() or word.stat().st_mtime < psutil.Process().create_time() - _CLOCK_ERROR_S:
        return
    reason = read_failure(folder, 0)
    given, derived, remedy = reason.get("parts") or (reason.get("error", "no message"), "", "")
    raise RunError(f"rank {member.rank} has nobody to join: {given}", derived, remedy)
