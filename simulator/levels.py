"""The compiled engine's graph as arrays: level by level for many samples, node by node for one."""

from __future__ import annotations

__all__ = ["Chain", "Integers", "Level"]

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(slots=True)
class Level:
    """Nodes first..last-1, whose edges come from lower levels; column k holds every node's k-th edge.

    Nodes with fewer edges repeat their first one, which changes no maximum. Shapes (columns, nodes)
    and (columns, nodes, 1).
    """

    first: int
    last: int
    sources: Integers
    weights: Integers


class Chain:
    """A graph of levels for one sample and narrow levels: nodes in turn, each the larger of two moments plus its work."""

    def __init__(self, levels: list[Level]) -> None:
        self._steps: list[tuple[int, int, int, int]] = []
        owners: list[int] = []
        found = [0]
        for level in levels:
            edges = zip(level.sources.T.tolist(), level.weights[:, :, 0].T.tolist(), strict=True)
            for node, (sources, weights) in enumerate(edges, start=level.first):
                source, weight = found[sources[0]], weights[0]
                for other, later in zip(sources[1:-1], weights[1:-1], strict=True):
                    # Beyond two moments, a step without work of its own (node 0 has none) for each.
                    self._steps.append((source, weight, found[other], later))
                    owners.append(0)
                    source, weight = len(self._steps), 0
                self._steps.append((source, weight, found[sources[-1]], weights[-1]))
                owners.append(node)
                found.append(len(self._steps))
        self._owners, self._found = np.array(owners, np.int64), np.array(found)

    def values(self, work: Integers) -> Integers:
        """The moments of all nodes, shape (nodes, 1), for one sample of their work."""
        values = [0]
        add = values.append
        for (one, weight, other, later), own in zip(self._steps, work[self._owners, 0].tolist(), strict=True):
            first, second = values[one] + weight, values[other] + later
            add((first if first > second else second) + own)
        return np.array(values, np.int64)[self._found, None]
