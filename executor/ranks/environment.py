"""Which rank this process is, if torchrun or srun started it."""

from __future__ import annotations

__all__ = ["FIRST_PORT", "PORTS", "RANK_VARIABLES", "Membership", "is_leader", "membership"]

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from chimera.pipeline.errors import RunError

FIRST_PORT, PORTS = 20_000, 10_000
"""a SLURM job's port: the first + its number modulo how many there are"""
RANK_VARIABLES = {
    # glibc returns large blocks to the kernel and faults their pages in again on every use, which costs
    # a schedule that holds many activations (GPipe) about 5 % here. Keeping them is what CUDA's caching
    # allocator does, too.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "OMP_NUM_THREADS": "1",
}
"""what must be in a rank's environment before it starts, whoever starts it"""


@dataclass(frozen=True, slots=True)
class Membership:
    """A rank among `ranks`, its number on its own host, and where rank 0 listens."""

    rank: int
    ranks: int
    local_rank: int
    local_ranks: int
    address: str
    port: int

    def variables(self) -> dict[str, str]:
        """The same as the environment variables that torch reads."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.ranks),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_ranks),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def membership(environ: Mapping[str, str] | None = None) -> Membership | None:
    """This process's membership from torchrun's variables, else from srun's; None if it is no rank.

    A batch script has SLURM_PROCID too but is no task of a step; one task is no group.
    """
    given = os.environ if environ is None else environ
    if "RANK" in given and "WORLD_SIZE" in given:
        rank, ranks = int(given["RANK"]), int(given["WORLD_SIZE"])
        return Membership(
            rank,
            ranks,
            int(given.get("LOCAL_RANK", rank)),
            int(given.get("LOCAL_WORLD_SIZE", ranks)),
            given.get("MASTER_ADDR", "127.0.0.1"),
            int(given.get("MASTER_PORT", "29500")),
        )
    if "SLURM_STEP_ID" in given and int(given.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in given:
        return _from_slurm(given)
    return None


def is_leader() -> bool:
    """Whether this process speaks for the run: no rank at all, or rank 0."""
    member = membership()
    return member is None or member.rank == 0


def _from_slurm(given: Mapping[str, str]) -> Membership:
    ranks = int(given["SLURM_NTASKS"])
    nodes = int(given.get("SLURM_STEP_NUM_NODES", given.get("SLURM_NNODES", "1")))
    job = int(given.get("SLURM_JOB_ID", "0"))
    return Membership(
        int(given["SLURM_PROCID"]),
        ranks,
        int(given.get("SLURM_LOCALID", "0")),
        _local_tasks(given.get("SLURM_STEP_TASKS_PER_NODE", ""), int(given.get("SLURM_NODEID", "0"))) or ranks // nodes,
        given.get("MASTER_ADDR") or ("127.0.0.1" if nodes == 1 else _first_address(given)),
        int(given.get("MASTER_PORT", FIRST_PORT + job % PORTS)),
    )


def _local_tasks(text: str, node: int) -> int:
    """Tasks on a node, from SLURM's `2(x3),1`; 0 if it does not say."""
    counts: list[int] = []
    for part in filter(None, text.split(",")):
        count, _, times = part.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts[node] if node < len(counts) else 0


def _first_address(given: Mapping[str, str]) -> str:
    """The address of the step's first node, as SLURM knows it: node names need not resolve."""
    nodes = given.get("SLURM_STEP_NODELIST") or given.get("SLURM_JOB_NODELIST", "")
    try:
        first = _scontrol("show", "hostnames", nodes).split()[0]
        for word in _scontrol("show", "node", first).split():
            if word.startswith("NodeAddr="):
                return word.removeprefix("NodeAddr=")
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        derived = f"scontrol does not tell their addresses: {error}"
        raise RunError(f"nodes {nodes!r}", derived, "export MASTER_ADDR") from error
    return first


def _scontrol(*arguments: str) -> str:
    return subprocess.run(["scontrol", *arguments], capture_output=True, text=True, check=True, timeout=30).stdout
