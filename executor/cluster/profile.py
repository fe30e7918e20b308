"""A cluster profile: what a site wants to be asked for, and where things are there.

`chimera.executor.cluster.profile_file` reads it from TOML. Text may hold {user}, {group}, {home}, {here}
(the folder of submission), {bin} (the folder of this Python) and, once they are known, {code}.
"""

from __future__ import annotations

__all__ = ["Cluster", "Gpus", "Network", "Nodes", "Paths", "Request", "Software"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge

from chimera.pipeline.units import parse_bytes, parse_ns

Positive = Annotated[int, Ge(1)]
_MINUTE_NS = 60 * 10**9
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """What every job asks for; empty text asks for nothing, the site's default.

    `time` is rounded up to minutes, SLURM's own grain. `warning` before its end the ranks are
    interrupted, so that a checkpoint and partial results are what is left. `extra` are further
    sbatch options, as they are written in a script.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: str = "30min"
    warning: str = "60s"
    cpus_per_rank: Positive = 1
    memory_per_node: str = ""
    extra: tuple[str, ...] = ()

    @property
    def minutes(self) -> int:
        """The time limit in whole minutes, rounded up."""
        return max(1, -(-parse_ns(self.time) // _MINUTE_NS))

    @property
    def warning_s(self) -> int:
        """Seconds between the interruption and the limit; 0 if the limit leaves no room for them."""
        seconds = parse_ns(self.warning) // 10**9
        return seconds if 2 * seconds < 60 * self.minutes else 0

    @property
    def memory_mib(self) -> int:
        """Memory of a node in MiB, SLURM's `M`; 0 asks for the default."""
        return parse_bytes(self.memory_per_node) // _MIB if self.memory_per_node else 0


@dataclass(frozen=True, slots=True)
class Nodes:
    """How many nodes one job may have, and how many ranks a node takes (its GPUs, where it has some)."""

    most: Positive = 1
    ranks_per_node: Positive = 1


@dataclass(frozen=True, slots=True)
class Gpus:
    """How GPUs are asked for. There is no `--gpus-per-task`: it hides the GPUs of the other ranks.

    `gpus`: --gpus=KIND:ALL, `gres`: --gres=gpu:KIND:PER_NODE, `gpus-per-node`: --gpus-per-node=KIND:PER_NODE.
    """

    style: Literal["none", "gpus", "gres", "gpus-per-node"] = "none"
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Software:
    """Modules to load, shell lines that activate an environment, and the folder of `chimera` and `torchrun`.

    Without `bin` they are found on PATH.
    """

    modules: tuple[str, ...] = ()
    activate: tuple[str, ...] = ()
    bin: str = ""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the code is (for `activate`), and the folder in which jobs work and leave their output."""

    code: str = "{here}"
    work: str = "{here}"


@dataclass(frozen=True, slots=True)
class Network:
    """The interface that ranks talk over; empty: the one that reaches rank 0."""

    interface: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A site: one TOML file. `variables` are exported in every job."""

    name: str
    description: str = ""
    launcher: Literal["srun", "torchrun"] = "srun"
    request: Request = field(default_factory=Request)
    nodes: Nodes = field(default_factory=Nodes)
    gpus: Gpus = field(default_factory=Gpus)
    software: Software = field(default_factory=Software)
    paths: Paths = field(default_factory=Paths)
    network: Network = field(default_factory=Network)
    variables: Mapping[str, str] = field(default_factory=dict)
