"""Starts one process a rank, watches over them, and leaves nothing behind."""

from __future__ import annotations

__all__ = ["launch"]

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from chimera.executor.ranks.autopsy import PortTakenError, died, late
from chimera.executor.ranks.environment import RANK_VARIABLES, Membership, membership, without_launcher
from chimera.executor.ranks.folder_lock import locked
from chimera.executor.ranks.memory_kills import memory_kills
from chimera.pipeline.errors import InputError, RunError
from chimera.pipeline.files.atomic_file import write_text

_POLL_S = 0.05
_LOOK_S = 0.5
_ATTEMPTS = 5
OnProgress = Callable[[float], None]


def launch(
    target: str,
    payload: Mapping[str, Any],
    *,
    ranks: int,
    output: Path,
    deadline_s: float,
    pin: bool = True,
    device: str = "cpu",
    on_progress: OnProgress | None = None,
) -> list[Any]:
    """Calls `target` ("module:function") as function(context, payload) in `ranks` processes.

    Returns what each rank returned, in rank order. Every rank's stderr is kept in
    output/ranks/rank-<r>.stderr. Raises RunError naming the rank that failed first (signal or
    status, its last action), or, once no rank has moved for `deadline_s`, every rank's last action:
    a run that gets on is never ended; InputError for a folder that cannot be used or in which a run
    is going on, and for a case that cannot be used. Whatever the ending, no process
    survives it. Under torchrun or srun this process is a rank already and nothing is started.
    """
    folder = output / "ranks"
    member = membership()
    given = {"CHIMERA_PIN": "1" if pin else "0", "CHIMERA_DEVICE": device, "CHIMERA_DEADLINE_S": str(deadline_s)}
    _make(folder, ranks)
    with locked(folder) if member is None or member.rank == 0 else nullcontext():
        _prepare(folder, payload)
        if member is not None:
            return _serve(target, payload, member, ranks, folder, given)
        for _ in range(_ATTEMPTS - 1):
            with suppress(PortTakenError):
                return _run(target, ranks, folder, deadline_s, given, on_progress)
        return _run(target, ranks, folder, deadline_s, given, on_progress)


def _make(folder: Path, ranks: int) -> None:
    if ranks < 1:
        raise InputError(f"{ranks} ranks", "cannot run anything", "use at least 1 rank")
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _prepare(folder: Path, payload: Mapping[str, Any]) -> None:
    with _usable(folder):
        write_text(folder / "payload.json", json.dumps(payload))


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        given, derived = f"output folder {folder.parent}", str(error.strerror)
        raise InputError(given, derived, "choose a folder you can write to") from error


def _serve(
    target: str, payload: Mapping[str, Any], member: Membership, ranks: int, folder: Path, given: Mapping[str, str]
) -> list[Any]:
    if member.ranks != ranks:
        raise InputError(
            f"{member.ranks} ranks were started",
            f"the run needs {ranks}",
            f"start {ranks} tasks with torchrun or srun; or unset RANK and WORLD_SIZE to start them here",
        )
    os.environ.update(given)
    results: list[Any] = import_module("chimera.executor.ranks.member").serve(
        target, payload, member, folder, gather=True
    )
    return results


def _run(
    target: str, ranks: int, folder: Path, deadline_s: float, given: Mapping[str, str], on_progress: OnProgress | None
) -> list[Any]:
    for stale in folder.glob("rank-*"):
        stale.unlink(missing_ok=True)
    port, kills = _free_port(), memory_kills()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(ranks):
            member = Membership(rank, ranks, rank, ranks, "127.0.0.1", port)
            processes.append(_start(member, target, folder, given))
        _watch(processes, folder, deadline_s, on_progress, kills)
    finally:
        _end(processes)
        _clear(processes, folder)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(member: Membership, target: str, folder: Path, given: Mapping[str, str]) -> subprocess.Popen[bytes]:
    environment = {
        **without_launcher(os.environ),
        **member.variables(),
        **RANK_VARIABLES,
        **given,
        "GLOO_SOCKET_IFNAME": "lo",
        "CHIMERA_LAUNCHER": str(os.getpid()),
        "PYTHONPATH": os.pathsep.join(entry for entry in (*sys.path, os.environ.get("PYTHONPATH", "")) if entry),
    }
    command = [sys.executable, "-P", "-m", "chimera.executor.ranks.rank", target, str(folder)]
    with open(folder / f"rank-{member.rank}.stderr", "wb") as errors:
        # A session of its own: Ctrl-C reaches the launcher alone, which then ends its ranks.
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True
        )


def _watch(
    processes: list[subprocess.Popen[bytes]],
    folder: Path,
    deadline_s: float,
    on_progress: OnProgress | None,
    kills: int | None,
) -> None:
    started = moved = looked = time.monotonic()
    seen: list[bytes] = []
    while True:
        states = [process.poll() for process in processes]
        if any(status and not _left(folder, rank) for rank, status in enumerate(states)):
            raise died(processes, folder, kills)
        if all(status is not None for status in states):
            return
        now = time.monotonic()
        if now - looked > min(_LOOK_S, deadline_s / 4):
            _refuse_removed(folder)
            looked, before, seen = now, seen, _slots(folder, len(processes))
            moved = moved if seen == before else now
        if now - moved > deadline_s:
            raise late(processes, folder, deadline_s)
        if on_progress:
            on_progress(now - started)
        time.sleep(_POLL_S)


def _refuse_removed(folder: Path) -> None:
    """Ranks do not notice that their open files have no name any more: what they write would be lost."""
    if not folder.is_dir():
        given, derived = f"output folder {folder.parent}", "was removed while its run was going on"
        raise RunError(given, derived, "run again, into a folder that stays")


def _left(folder: Path, rank: int) -> bool:
    """Whether a rank has left its result, whole: however its process ends after that, it has done its work."""
    return (folder / f"rank-{rank}.json").exists()


def _slots(folder: Path, ranks: int) -> list[bytes]:
    """What each rank has in its progress slot (see `chimera.executor.ranks.progress.Progress`)."""
    paths = [folder / f"rank-{rank}.action" for rank in range(ranks)]
    return [path.read_bytes() if path.exists() else b"" for path in paths]


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.wait()


def _clear(processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Removes what a killed rank was writing under a temporary name (see `chimera.pipeline.files.atomic_file`)."""
    for process in processes:
        for part in folder.glob(f".*-{process.pid}.*"):
            part.unlink(missing_ok=True)
