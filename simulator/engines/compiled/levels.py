"""A graph's moments for given costs: level by level for many samples at once, node by node for one."""

from __future__ import annotations

__all__ = ["Weights", "walk_levels", "walk_nodes"]

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chimera.simulator.engines.compiled.graph import Graph

Integers = NDArray[np.int64]
_Level = tuple[int, int, int, Integers, Integers | None, Integers, Integers | None]


@dataclass(slots=True)
class Weights:
    """What a graph's edges add, in nanoseconds: `one` and `other` are what is above `both`, the less of the two."""

    graph: Graph
    sums: Integers
    both: Integers = field(init=False)
    one: Integers = field(init=False)
    other: Integers = field(init=False)
    _levels: list[_Level] | None = field(init=False, default=None)
    _steps: list[list[int]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        one, other = self.sums[self.graph.one_sum], self.sums[self.graph.other_sum]
        self.both = np.minimum(one, other)
        self.one, self.other = one - self.both, other - self.both

    @property
    def levels(self) -> list[_Level]:
        """First and last node, how many have two edges; then the sources of both edges and what they add, if any."""
        if self._levels is None:
            bounds, graph = self.graph.bounds, self.graph
            found = []
            for first, last, paired in zip(
                bounds[:-1].tolist(), bounds[1:].tolist(), graph.paired.tolist(), strict=True
            ):
                one, other = self.one[first:last, None], self.other[first : first + paired, None]
                sources = graph.one[first:last], graph.other[first : first + paired]
                adds = (weights if weights.any() else None for weights in (one, other))
                found.append((first, last, paired, sources[0], next(adds), sources[1], next(adds)))
            self._levels = found
        return self._levels

    @property
    def steps(self) -> list[list[int]]:
        """Of all nodes but the first: the source to which nothing is added, the other source and what is added."""
        if self._steps is None:
            graph, swapped = self.graph, self.one > 0
            plain = np.where(swapped, graph.other, graph.one)
            added = np.where(swapped, graph.one, graph.other)
            self._steps = [column[1:].tolist() for column in (plain, added, self.one + self.other)]
        return self._steps


def walk_levels(weights: Weights, values: Integers) -> None:
    """Turns durations into moments, in place: shape (nodes, samples), `weights.both` already added."""
    widest = int(np.diff(weights.graph.bounds, prepend=0).max())
    ones, others = np.empty((2, widest, values.shape[1]), np.int64)
    for first, last, paired, one, one_adds, other, other_adds in weights.levels:
        latest = ones[: last - first]
        # Any mode but "raise", which cannot happen here, writes straight into `out`.
        np.take(values, one, axis=0, out=latest, mode="clip")
        if one_adds is not None:
            latest += one_adds
        if paired:
            second = others[:paired]
            np.take(values, other, axis=0, out=second, mode="clip")
            if other_adds is not None:
                second += other_adds
            np.maximum(latest[:paired], second, out=latest[:paired])
        values[first:last] += latest


def walk_nodes(weights: Weights, work: Integers) -> Integers:
    """The moments of all nodes, shape (nodes,), for one sample of their durations, `weights.both` already added."""
    values = [0]
    add = values.append
    for source, other, later, own in zip(*weights.steps, work[1:].tolist(), strict=True):
        first, second = values[source], values[other] + later
        add((first if first > second else second) + own)
    return np.array(values, np.int64)
