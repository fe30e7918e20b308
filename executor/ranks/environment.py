"""Which rank this process is, if torchrun or srun started it."""

from __future__ import annotations

__all__ = ["FIRST_PORT", "PORTS", "RANK_VARIABLES", "Membership", "is_leader", "membership", "without_launcher"]

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from chimera.pipeline.errors import InputError, RunError

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
_LAST_PORT = 65_535
_OF_LAUNCHERS = ("TORCHELASTIC_", "PET_", "ROLE_", "GROUP_")
_DEBUG_LEVELS = ("OFF", "INFO", "DETAIL")
_OF_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK")


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


def without_launcher(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what torchrun, srun or an earlier launch said of ranks: those we start are told by us.

    What a launcher leaves behind would be believed: TORCHELASTIC_USE_AGENT_STORE alone makes a rank wait for ever for a
    store that nobody keeps.
    """
    return {
        name: value for name, value in environ.items() if name not in _OF_RANKS and not name.startswith(_OF_LAUNCHERS)
    }


def membership(environ: Mapping[str, str] | None = None) -> Membership | None:
    """This process's membership from torchrun's variables, else from srun's; None if it is no rank.

    A batch script has SLURM_PROCID too but is no task of a step; one task is no group. Raises InputError for half a
    membership and for values that cannot be: the variable, its value and the range. An empty value counts as unset.
    """
    variables = _Variables(os.environ if environ is None else environ)
    variables.one_of("TORCH_DISTRIBUTED_DEBUG", _DEBUG_LEVELS)
    if "RANK" in variables or "WORLD_SIZE" in variables:
        return _from_torchrun(variables)
    if (
        "SLURM_STEP_ID" in variables
        and "SLURM_PROCID" in variables
        and variables.number("SLURM_NTASKS", 1, default=1) > 1
    ):
        return _from_slurm(variables)
    return None


class _Variables:
    """Environment variables as whole numbers in a range, or refused by name; an empty one is unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._set = {name: value.strip() for name, value in environ.items() if value.strip()}

    def __contains__(self, name: str) -> bool:
        return name in self._set

    def text(self, name: str, default: str = "") -> str:
        """The value of a variable, without blanks around it."""
        return self._set.get(name, default)

    def one_of(self, name: str, words: tuple[str, ...]) -> None:
        """Refuses a value that is none of these words, in any case; unset passes."""
        if self.text(name, words[0]).upper() not in words:
            raise InputError(
                f"{name}={self.text(name)}", f"is none of {', '.join(words)}", f"unset {name}, or correct it"
            )

    def number(self, name: str, least: int, most: int | None = None, *, default: int) -> int:
        """The value as a whole number from `least` to `most`; InputError names the variable and that range."""
        if name not in self._set:
            return default
        text = self._set[name]
        number = int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None
        if number is None or number < least or (most is not None and number > most):
            admitted = f"of {least} or more" if most is None else f"from {least} to {most}"
            raise InputError(f"{name}={text}", f"is no whole number {admitted}", f"unset {name}, or correct it")
        return number


def _from_torchrun(variables: _Variables) -> Membership:
    for name, other in (("RANK", "WORLD_SIZE"), ("WORLD_SIZE", "RANK")):
        if name not in variables:
            raise InputError(
                f"{other}={variables.text(other)} without {name}",
                "is half of what torchrun says of a rank",
                f"unset {other} to start ranks here, or set {name}",
            )
    ranks = variables.number("WORLD_SIZE", 1, default=1)
    rank = variables.number("RANK", 0, ranks - 1, default=0)
    local_ranks = variables.number("LOCAL_WORLD_SIZE", 1, ranks, default=ranks)
    return Membership(
        rank,
        ranks,
        variables.number("LOCAL_RANK", 0, local_ranks - 1, default=rank % local_ranks),
        local_ranks,
        variables.text("MASTER_ADDR", "127.0.0.1"),
        variables.number("MASTER_PORT", 1, _LAST_PORT, default=29_500),
    )


def is_leader() -> bool:
    """Whether this process speaks for the run: no rank at all, or rank 0."""
    member = membership()
    return member is None or member.rank == 0


def _from_slurm(variables: _Variables) -> Membership:
    ranks = variables.number("SLURM_NTASKS", 1, default=1)
    nodes = variables.number("SLURM_STEP_NUM_NODES", 1, default=variables.number("SLURM_NNODES", 1, default=1))
    job, node = variables.number("SLURM_JOB_ID", 0, default=0), variables.number("SLURM_NODEID", 0, default=0)
    return Membership(
        variables.number("SLURM_PROCID", 0, ranks - 1, default=0),
        ranks,
        variables.number("SLURM_LOCALID", 0, ranks - 1, default=0),
        _local_tasks(variables.text("SLURM_STEP_TASKS_PER_NODE"), node) or ranks // nodes,
        variables.text("MASTER_ADDR") or ("127.0.0.1" if nodes == 1 else _first_address(variables)),
        variables.number("MASTER_PORT", 1, _LAST_PORT, default=FIRST_PORT + job % PORTS),
    )


def _local_tasks(text: str, node: int) -> int:
    """Tasks on a node, from SLURM's `2(x3),1`; 0 if it does not say."""
    counts: list[int] = []
    for part in filter(None, text.split(",")):
        count, _, times = part.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts[node] if node < len(counts) else 0


def _first_address(variables: _Variables) -> str:
    """The address of the step's first node, as SLURM knows it: node names need not resolve."""
    nodes = variables.text("SLURM_STEP_NODELIST") or variables.text("SLURM_JOB_NODELIST")
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
