"""A real SLURM of four virtual nodes for the tests that are marked `slurm`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chimera.executor.cluster import Task, cancel, load_cluster, submit

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm-cluster"
_NODES = 4


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """Brings the cluster up, lets sbatch and its like find it, and tears it down, whatever happened."""
    if missing := [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]:
        pytest.skip(f"SLURM is not installed here ({', '.join(missing)} missing): `make slurm` installs it")
    if os.geteuid() != 0:
        pytest.skip("the daemons of a virtual SLURM must be started by root")
    folder = Path(tempfile.mkdtemp(prefix="chimera-slurm-"))
    given = {
        "SLURM_CLUSTER_DIR": str(folder),
        "SLURM_CLUSTER_NODES": str(_NODES),
        "SLURM_CLUSTER_PORT": str(_free_ports()),
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in given.items():
            patch.setenv(key, value)
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        try:
            up = subprocess.run([SCRIPT, "up"], capture_output=True, text=True, timeout=60)
            assert up.returncode == 0, up.stderr
            yield
        finally:
            subprocess.run([SCRIPT, "down"], check=True, timeout=60)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def limited(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A job that would sleep for hours on a node, limited to SLURM's shortest time, a minute; others run meanwhile."""
    folder = tmp_path_factory.mktemp("limited")
    words = ("run", "dapple", "--model", "gpt-tiny", "--stages", "2", "--microbatches", "2", "--microbatch-size", "1")
    sleeping = (
        "--compute",
        "paced",
        "--forward",
        "100ms",
        "--backward",
        "200ms",
        "--steps",
        "100000",
        "--output",
        "out",
    )
    where = load_cluster("local", [f"paths.work={folder}", "nodes.ranks_per_node=2", "request.time=10s"])
    submit(where, [Task((*words, *sleeping), 2)], folder / "job")
    yield folder
    cancel(folder / "job")


def _free_ports() -> int:
    """The first of enough ports in a row that nobody listens at."""
    for first in range(17_000, 20_000, 10):
        probes = [socket.socket() for _ in range(_NODES + 1)]
        try:
            for offset, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + offset))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError("no free ports")
