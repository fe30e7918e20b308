"""How many nodes a number of ranks needs on a cluster."""

from __future__ import annotations

__all__ = ["Allocation", "allocate"]

from dataclasses import dataclass

from chimera.executor.cluster.profile import Nodes
from chimera.pipeline.errors import InputError


@dataclass(frozen=True, slots=True)
class Allocation:
    """Nodes, and as many ranks on each of them."""

    nodes: int
    ranks_per_node: int

    @property
    def ranks(self) -> int:
        """All ranks together."""
        return self.nodes * self.ranks_per_node


def allocate(ranks: int, available: Nodes) -> Allocation:
    """The fewest nodes that hold `ranks` evenly: rank r stands on node r // ranks_per_node.

    Raises InputError for ranks that fill no whole number of nodes, or more nodes than there may be.
    """
    if ranks <= available.ranks_per_node:
        return Allocation(1, ranks)
    nodes, rest = divmod(ranks, available.ranks_per_node)
    if rest:
        fitting = ", ".join(str(count) for count in range(available.ranks_per_node - 1, 0, -1) if ranks % count == 0)
        raise InputError(
            f"{ranks} ranks on nodes of {available.ranks_per_node}",
            f"{rest} would be left over for a last node",
            f"choose stages x width as a multiple of {available.ranks_per_node}, "
            f"or --set nodes.ranks_per_node to one of {fitting}",
        )
    if nodes > available.most:
        raise InputError(
            f"{ranks} ranks on nodes of {available.ranks_per_node}",
            f"need {nodes} nodes where a job may have {available.most}",
            f"use stages x width up to {available.most * available.ranks_per_node}, or --set nodes.most={nodes}",
        )
    return Allocation(nodes, available.ranks_per_node)
