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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, RunError

_POLL_S = 0.05
_TAIL_LINES = 12
OnProgress = Callable[[float], None]
# glibc returns large blocks to the kernel and faults their pages in again on every use, which costs
# a schedule that holds many activations (GPipe) about 5 % here. Keeping them is what CUDA's caching
# allocator does, too.
_KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def launch(
    target: str,
    payload: Mapping[str, Any],
    *,
    ranks: int,
    output: Path,
    deadline_s: float,
    pin: bool = True,
    on_progress: OnProgress | None = None,
) -> list[Any]:
    """Calls `target` ("module:function") as function(context, payload) in `ranks` processes.

    Returns what each rank returned, in rank order. Every rank's stderr is kept in
    output/ranks/rank-<r>.stderr. Raises RunError naming the rank that died (signal or status, its
    last action, the end of its stderr), or, past `deadline_s`, every rank's last action. Whatever
    the ending, no process survives it.
    """
    folder = output / "ranks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "payload.json").write_text(json.dumps(payload))
    except OSError as error:
        raise InputError(f"output folder {output}", str(error.strerror), "choose a folder you can write to") from error
    port = _free_port()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(ranks):
            processes.append(_start(rank, ranks, port, target, folder, pin))
        _watch(processes, folder, deadline_s, on_progress)
    finally:
        _end(processes)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(rank: int, ranks: int, port: int, target: str, folder: Path, pin: bool) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        **_KEEP_FREED_MEMORY,
        "CHIMERA_PIN": "1" if pin else "0",
        "PYTHONPATH": os.pathsep.join(entry for entry in (*sys.path, os.environ.get("PYTHONPATH", "")) if entry),
    }
    result = folder / f"rank-{rank}.json"
    result.unlink(missing_ok=True)
    with open(folder / f"rank-{rank}.stderr", "wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "executor.rank", target, str(folder)],
            env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True,
        )


def _watch(
    processes: list[subprocess.Popen[bytes]], folder: Path, deadline_s: float, on_progress: OnProgress | None
) -> None:
    started = time.monotonic()
    while True:
        states = [process.poll() for process in processes]
        for rank, status in enumerate(states):
            if status not in (None, 0):
                raise _died(rank, int(status), folder)
        if all(status == 0 for status in states):
            return
        elapsed = time.monotonic() - started
        if elapsed > deadline_s:
            raise _late(len(processes), folder, deadline_s)
        if on_progress:
            on_progress(elapsed)
        time.sleep(_POLL_S)


def _died(rank: int, status: int, folder: Path) -> RunError:
    from executor.context import Progress

    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    last = Progress.read(folder / f"rank-{rank}.action") or "starting up"
    stderr = folder / f"rank-{rank}.stderr"
    tail = "\n".join(stderr.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
    return RunError(f"rank {rank} {how}", f"its last action: {last}\n{tail}".rstrip(), f"read {stderr}")


def _late(ranks: int, folder: Path, deadline_s: float) -> RunError:
    from executor.context import Progress

    last = "; ".join(
        f"rank {rank} at {Progress.read(folder / f'rank-{rank}.action') or 'start-up'}" for rank in range(ranks)
    )
    return RunError(f"the run passed its deadline of {deadline_s:g} s", last, "raise the deadline, or look for the rank that hangs")


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.wait()
