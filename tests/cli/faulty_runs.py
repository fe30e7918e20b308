"""Real runs of the command in which something goes wrong, and how each ended."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chimera.executor.ranks.folder_lock import locked
from tests.cli.memory_cgroup import NoCgroupError, memory_cgroup
from tests.slowness import slowness
from tests.two_hosts import ADDRESSES, NoNamespacesError, ip, two_hosts

QUIET_DEADLINE_S = 12
DEADLINE_S = round(QUIET_DEADLINE_S * slowness())
"""within which a rank moves, unless something is wrong: on a machine that is busy, later"""
NEVER_S = 3600
"""a deadline that is over long after patience is: a run that ends with this one has noticed its fault at once"""
_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 240
_SIZE = ("--model", "gpt-tiny", "--stages", "2", "--microbatches", "4", "--microbatch-size", "2")
_FAULTY = """
import chimera.executor.training.train as training
from chimera.executor.ranks.launch import launch
training.launch = lambda target, payload, **given: launch("tests.executor.faulty_targets:{}", payload, **given)
"""
_TAKEN = """
import chimera.executor.ranks.launch as launcher
ports, free = [{}], launcher._free_port
launcher._free_port = lambda: ports.pop() if ports else free()
"""


class NotHereError(Exception):
    """Why a fault cannot be injected on this machine."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the processes that a user started ended, and how long after the fault the last of them did."""

    output: Path
    statuses: tuple[int, ...]
    errors: tuple[str, ...]
    after_s: float


def _start(
    output: Path,
    prelude: str = "",
    *more: str,
    deadline_s: int = NEVER_S,
    within: Sequence[str] = (),
    **variables: str,
) -> subprocess.Popen[str]:
    steps = () if "--steps" in more else ("--steps", "100000")
    words = ["run", "dapple", *_SIZE, *steps, "--deadline", f"{deadline_s}s", "--output", str(output), *more]
    return subprocess.Popen(
        [*within, sys.executable, "-c", f"{prelude}\nfrom chimera.cli import main\nmain()", *words],
        env=os.environ | {"PYTHONPATH": str(_ROOT)} | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(output: Path, *processes: subprocess.Popen[str]) -> Ended:
    """Waits for all of them; the fault was when the file `fault` says, else when they were started."""
    started, ends = time.monotonic(), [0.0] * len(processes)
    errors = [""] * len(processes)

    def read(number: int) -> None:
        try:
            errors[number] = processes[number].communicate(timeout=_PATIENCE_S)[1]
        except subprocess.TimeoutExpired:
            processes[number].kill()
            errors[number] = processes[number].communicate()[1]
        ends[number] = time.monotonic()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(len(processes))]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    fault = output / "fault"
    since = int(fault.read_text()) / 1e9 if fault.exists() else started
    return Ended(output, tuple(process.returncode for process in processes), tuple(errors), max(ends) - since)


def _rank(
    output: Path, rank: int, port: int, prelude: str = "", *, deadline_s: int = NEVER_S, **more: object
) -> subprocess.Popen[str]:
    """A rank as torchrun or srun starts it."""
    given = {
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return _start(output, prelude, deadline_s=deadline_s, **(given | more))  # type: ignore[arg-type]


def faulty(fault: str, deadline_s: int = NEVER_S) -> Callable[[Path], Ended]:
    """A run of our launcher in which rank 1 meets a fault."""
    return lambda output: _end(output, _start(output, _FAULTY.format(fault), deadline_s=deadline_s))


def faulty_peer(fault: str, deadline_s: int = NEVER_S) -> Callable[[Path], Ended]:
    """Two ranks without a launcher; rank 1 meets a fault."""

    def run(output: Path) -> Ended:
        port = _free_port()
        ranks = [_rank(output, rank, port, _FAULTY.format(fault), deadline_s=deadline_s) for rank in range(2)]
        return _end(output, *ranks)

    return run


def full_disk(output: Path) -> Ended:
    """A disk with room for one checkpoint and a half (20 MB each: 1.7 M parameters, 12 bytes of each)."""
    output.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(output)], check=False, capture_output=True
    ).returncode:
        raise NotHereError("mounting a small disk needs root")
    try:
        ended = _end(output, _start(output / "run", "", "--checkpoint-every", "1"))
        kept = output.with_name("kept")
        subprocess.run(["cp", "-r", str(output / "run"), str(kept)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(output)], check=False)
    return Ended(kept, ended.statuses, ended.errors, ended.after_s)


def starved(output: Path) -> Ended:
    """A command with 1.5 GiB for all of its processes, of which rank 1 takes ever more."""
    try:
        with memory_cgroup(3 << 29) as within:
            return _end(output, _start(output, _FAULTY.format("starved"), within=within))
    except NoCgroupError as reason:
        raise NotHereError(str(reason)) from reason


def folder_in_use(output: Path) -> Ended:
    """A second run while somebody else holds the folder."""
    (output / "ranks").mkdir(parents=True)
    with locked(output / "ranks"):
        return _end(output, _start(output))


def port_taken(output: Path) -> Ended:
    """Our launcher chooses a port that somebody takes before it is used."""
    with _listener() as (_, port):
        return _end(output, _start(output, _TAKEN.format(port), "--steps", "1"))


def given_port_taken(output: Path) -> Ended:
    """Two ranks are told a port at which somebody else listens, who never answers."""
    with _listener() as (_, port):
        return _end(output, *(_rank(output, rank, port) for rank in range(2)))


def versions_differ(output: Path) -> Ended:
    """Rank 1 has another chimera installed."""
    with tempfile.TemporaryDirectory() as elsewhere:
        port = _free_port()
        installed = Path(elsewhere) / "chimera_pipeline-0.0.1.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: chimera-pipeline\nVersion: 0.0.1\n")
        other = _rank(output, 1, port, PYTHONPATH=f"{elsewhere}:{_ROOT}")
        return _end(output, _rank(output, 0, port), other)


def network_cut(output: Path) -> Ended:
    """The wire between two hosts goes down while they work."""
    try:
        with two_hosts() as hosts:
            ranks = [
                _rank(
                    output,
                    rank,
                    29778,
                    deadline_s=DEADLINE_S,
                    within=("ip", "netns", "exec", host),
                    MASTER_ADDR=ADDRESSES[0],
                    LOCAL_RANK="0",
                    LOCAL_WORLD_SIZE="1",
                )
                for rank, host in enumerate(hosts)
            ]
            _wait_for_iterations(output)
            output.joinpath("fault").write_text(str(time.monotonic_ns()))
            ip("-n", hosts[1], "link", "set", "wire1", "down")
            return _end(output, *ranks)
    except NoNamespacesError as reason:
        raise NotHereError(str(reason)) from reason


def interrupted(output: Path) -> Ended:
    """Ctrl-C in mid-run."""
    # A job in the background starts with Ctrl-C ignored; a user's command does not.
    command = _start(output, "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)")
    _wait_for_iterations(output)
    output.joinpath("fault").write_text(str(time.monotonic_ns()))
    command.send_signal(signal.SIGINT)
    return _end(output, command)


def _wait_for_iterations(output: Path) -> None:
    journals = [output / "ranks" / f"rank-{rank}.jsonl" for rank in range(2)]
    until = time.monotonic() + _PATIENCE_S
    while not all(path.exists() and path.read_text().count("\n") >= 3 for path in journals):
        if time.monotonic() > until:
            raise TimeoutError("the ranks did not start")
        time.sleep(0.1)


def _free_port() -> int:
    """A port that is free and stays so: none that the kernel gives to whoever asks for any, as other runs do."""
    for port in random.sample(range(10_000, 17_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


@contextmanager
def _listener() -> Iterator[tuple[socket.socket, int]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener, listener.getsockname()[1]
