"""Links between devices: which class a pair belongs to, how long a message holds it, what it shares."""

from __future__ import annotations

__all__ = ["Network", "slower"]

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from chimera.pipeline.errors import InputError
from chimera.pipeline.grid import node_of
from chimera.simulator.costs.profile import LinkCost, Profile

_FREE = LinkCost(queueing=False)


def slower(link: LinkCost, factor: float) -> LinkCost:
    """`factor` times the latency and 1/factor of the bandwidth; host overheads stay."""
    bandwidth = link.bandwidth_bytes_per_s
    return replace(
        link,
        latency_ns=round(link.latency_ns * factor),
        bandwidth_bytes_per_s=None if bandwidth is None else bandwidth / factor,
    )


class Network:
    """The links of a profile, for messages between numbered devices.

    A message asks for resources (the directed link of its ordered pair, or the link of both
    directions where that is half duplex; with shared NICs also the sending and the receiving
    node's) and holds all of them from its start to its arrival.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._resources: dict[object, int] = {}
        topology = profile.topology
        self._nic = topology.shared_nic and topology.devices_per_node is not None
        self._slow = {frozenset((slow.one, slow.other)): slow.factor for slow in topology.slow_links}
        self.contention = self._contention()
        """why messages of different pairs or directions contend, or None if they do not"""

    def _contention(self) -> str | None:
        if self._nic:
            return "messages of different pairs share a NIC"
        if any(link.queueing and link.half_duplex for link in self._profile.links.values()):
            return "both directions of a link share it"
        return None

    @property
    def resource_count(self) -> int:
        """How many resources have been named so far."""
        return len(self._resources)

    def link(self, source: int, target: int) -> LinkCost:
        """The class of the link between two different devices; free where a one-host profile has none.

        Raises InputError for a class of links between nodes that the profile lacks.
        """
        name = self._class(source, target)
        link = self._profile.links.get(name)
        if link is None and name != "local":
            remedy = f"add links.{name}, or drop topology"
            raise InputError(f"profile {self._profile.name!r}", f"has nodes but no links.{name}", remedy)
        link, factor = link or _FREE, self._slow.get(frozenset((source, target)), 1.0)
        return link if factor == 1.0 else slower(link, factor)

    def _class(self, source: int, target: int) -> Literal["local", "same_node", "other_node"]:
        size = self._profile.topology.devices_per_node
        if size is None:
            return "local"
        return "same_node" if node_of(source, size) == node_of(target, size) else "other_node"

    def occupancy_ns(self, source: int, target: int, size_bytes: int) -> int:
        """latency + bytes / bandwidth of one message, in whole nanoseconds."""
        link = self.link(source, target)
        bandwidth = link.bandwidth_bytes_per_s
        return link.latency_ns + (round(size_bytes * 1e9 / bandwidth) if bandwidth else 0)

    def resources(self, source: int, target: int) -> tuple[int, ...]:
        """Numbers of the resources a message holds; empty for a pure delay."""
        link = self.link(source, target)
        if not link.queueing:
            return ()
        one, other = sorted((source, target))
        keys: list[object] = [("both", one, other) if link.half_duplex else (source, target)]
        size = self._profile.topology.devices_per_node
        sending, receiving = node_of(source, size), node_of(target, size)
        if self._nic and sending != receiving:
            keys += self._nics(sending, receiving, half_duplex=link.half_duplex)
        return tuple(self._resources.setdefault(key, len(self._resources)) for key in keys)

    def nics(self, members: Sequence[int], ranks: Sequence[int]) -> tuple[int, ...]:
        """Numbers of the shared NICs, of the nodes of `members`, that an all-reduce among `ranks` crosses.

        All of them, both ways, if the ranks stand on several nodes: every exchange passes each node once.
        """
        size = self._profile.topology.devices_per_node
        if not self._nic or size is None or len({node_of(rank, size) for rank in ranks}) == 1:
            return ()
        half_duplex = self.link(0, size).half_duplex
        keys = dict.fromkeys(
            key
            for node in sorted({node_of(member, size) for member in members})
            for key in self._nics(node, node, half_duplex=half_duplex)
        )
        return tuple(self._resources.setdefault(key, len(self._resources)) for key in keys)

    def _nics(self, source: int, target: int, *, half_duplex: bool) -> list[object]:
        """Of the nodes: a NIC sends and receives at once, unless its links are half duplex."""
        if half_duplex:
            return [("nic", source), ("nic", target)]
        return [("out", source), ("in", target)]
