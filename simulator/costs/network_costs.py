"""What messages and all-reduces cost in a profile: classes of links, nodes, collectives."""

from __future__ import annotations

__all__ = [
    "Algorithm",
    "AllReduceCost",
    "Count",
    "Factor",
    "LinkClass",
    "LinkCost",
    "MeasuredReduce",
    "SlowLink",
    "Topology",
]

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from chimera.pipeline.units import format_bandwidth

LinkClass = Literal["local", "same_node", "other_node"]
Algorithm = Literal["auto", "ring", "rabenseifner", "tree"]
"""auto: the fastest of the three for the size and the group"""
Count = Annotated[int, Ge(0)]
Factor = Annotated[float, Ge(1)]


@dataclass(frozen=True, slots=True)
class LinkCost:
    """A class of links. A message takes latency + bytes/bandwidth and holds its directed link so long.

    `queueing=False` is a pure delay: messages do not wait for one another. The overheads are host
    time paid by the sending device at its SEND and by the receiving one when it takes the data.
    """

    latency_ns: Count = 0
    bandwidth_bytes_per_s: Annotated[float, Gt(0)] | None = None
    """None is infinite"""
    send_overhead_ns: Count = 0
    receive_overhead_ns: Count = 0
    queueing: bool = True
    half_duplex: bool = False
    """both directions of a pair share one link (where messages queue)"""
    least_bandwidth_bytes_per_s: Annotated[float, Gt(0)] | None = None
    """what the bandwidth is at least where measured messages were too small to tell it; None: told, or not measured"""

    @property
    def bandwidth_text(self) -> str:
        """The bandwidth for people, and where it was too large to be told from messages that were measured."""
        if self.least_bandwidth_bytes_per_s:
            return f">= {format_bandwidth(self.least_bandwidth_bytes_per_s)} (messages too small to tell)"
        return (
            format_bandwidth(self.bandwidth_bytes_per_s)
            if self.bandwidth_bytes_per_s
            else "infinite bandwidth (none measured)"
        )


@dataclass(frozen=True, slots=True)
class SlowLink:
    """Two devices whose messages, both ways, take `factor` times the latency at 1/factor of the bandwidth."""

    one: Count
    other: Count
    factor: Factor


@dataclass(frozen=True, slots=True)
class Topology:
    """Which devices share a node. None: all on one host, whose links are of class `local`.

    Otherwise devices k*n .. k*n+n-1 form a node and links are of class `same_node` or
    `other_node`. With `shared_nic` all messages that leave (enter) a node queue for its one NIC;
    where links between nodes are half duplex, what leaves and what enters queue for the same.
    """

    devices_per_node: Annotated[int, Ge(1)] | None = None
    shared_nic: bool = False
    slow_links: tuple[SlowLink, ...] = ()


@dataclass(frozen=True, slots=True)
class MeasuredReduce:
    """One measured all-reduce of `size_bytes` over `group` ranks, which stood on so many nodes."""

    group: Annotated[int, Ge(2)]
    size_bytes: Count
    duration_ns: Count
    nodes: Annotated[int, Ge(1)] = 1


@dataclass(frozen=True, slots=True)
class AllReduceCost:
    """Alpha-beta cost of an all-reduce; a measured table, where it covers the group, comes first.

    Where ranks stand on nodes, the links between them count too (`chimera.simulator.costs.collectives`).

    While an all-reduce and computation share a device, each runs slower by its factor.
    """

    latency_ns: Count = 0
    bandwidth_bytes_per_s: Annotated[float, Gt(0)] | None = None
    algorithm: Algorithm = "ring"
    measured: tuple[MeasuredReduce, ...] = ()
    compute_slowdown: Factor = 1.0
    reduce_slowdown: Factor = 1.0
