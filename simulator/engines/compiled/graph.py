"""The moments of an iteration as a graph: each is the larger of at most two earlier ones, plus constants.

Made of a plan's structure alone. Costs come later: a node's own duration is known by its place in a
vector of durations, and what is added on an edge by the number of a sum of costs; equal sums are
made once. What costs do decide is which messages queue on their link and which all-reduces take any
time: a structure keeps one graph for each answer to that.
"""

from __future__ import annotations

__all__ = ["ALONE", "Graph", "Moments", "graph_of"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimera.simulator.workload.structure import COMPUTE, RECEIVE, REDUCE, SEND, STEP, Structure

Integers = NDArray[np.int64]
_Moment = tuple[int, int]
"""A node, and the number of the sum of costs after it."""
_DISPATCH = 0
_COSTS_A_WIRE = 3
ALONE = 2
"""for `queued`: a kind of messages that do not queue, each of which has a duration of its own nevertheless"""


class Moments(NamedTuple):
    """Moments by node and by the sum after it; a node of -1 is a moment that never comes."""

    nodes: Integers
    sums: Integers


class Graph:
    """Nodes in an order in which every edge leads forward: by level, and in a level those with two edges first.

    Node k comes `one_sum[k]` after node `one[k]` and not before `other_sum[k]` after `other[k]` (the
    same again where there is but one edge), and then takes the duration number `own[k]`: 0 is none, then
    every action of all devices in turn, every kind of message on its link, every all-reduce. `bounds`
    are the levels' first nodes, `paired` how many of a level have two edges. `stuck` tells that devices
    wait for each other, and the graph is of no use.
    """

    def __init__(self, structure: Structure, queued: Sequence[int], timed: Sequence[bool]) -> None:
        made = _Builder(structure, queued, timed)
        self.stuck = not made.finished
        level, single = np.array(made.level), np.array(made.single)
        order = np.lexsort((single, level))
        place = np.empty(len(order) + 1, np.int64)
        place[order], place[-1] = np.arange(len(order)), -1
        self.one, self.other = place[np.array(made.one)[order]], place[np.array(made.other)[order]]
        self.one_sum, self.other_sum = np.array(made.one_sum)[order], np.array(made.other_sum)[order]
        self.own = np.array(made.own)[order]
        self.bounds = np.searchsorted(level[order], np.arange(1, level.max() + 2))
        self.paired = np.bincount(level[~single], minlength=int(level.max()) + 1)[1:]
        self.ends = place[np.array(made.ends, np.int64)]
        self.computed = self.ends[np.array(made.computing, np.int64)]
        """the nodes at which computations end, devices in turn"""
        reduced = [node for node in made.reduced if node >= 0]
        self.reduced = place[np.array(made.reduced, np.int64)]
        self.posted, self.sent, self.arrived, self.needed, self.last = (
            Moments(place[nodes], sums)
            for nodes, sums in (
                np.array(moments, np.int64).reshape(-1, 2).T
                for moments in (
                    made.posted,
                    made.sent,
                    made.arrived,
                    made.needed,
                    [*made.clock, *((node, 0) for node in reduced)],
                )
            )
        )
        self._sums = made.sums

    def sums(self, dispatch_ns: int, wires: Sequence[tuple[int, int, int]]) -> Integers:
        """What every sum amounts to; of each kind of message its send overhead, receive overhead and link time."""
        costs = [dispatch_ns, *(cost for wire in wires for cost in wire)]
        values = [0]
        for before, cost in self._sums:
            values.append(values[before] + costs[cost])
        return np.array(values, np.int64)


def graph_of(structure: Structure, queued: tuple[int, ...], timed: tuple[bool, ...]) -> Graph:
    """The graph in which these kinds of messages queue and these all-reduces take time: made once."""
    found: Graph = structure.graphs.get((queued, timed), lambda _: Graph(structure, queued, timed))
    return found


class _Builder:
    """Goes through the rows as far as each can get, in turn, and notes down nodes."""

    def __init__(self, structure: Structure, queued: Sequence[int], timed: Sequence[bool]) -> None:
        self._structure, self._queued, self._timed = structure, queued, timed
        rows, wires = structure.ops, len(structure.receives)
        self.one, self.one_sum, self.other, self.other_sum, self.own, self.level = [0], [0], [0], [0], [0], [0]
        self.single = [True]
        self.sums: list[tuple[int, int]] = []
        """of every sum but the first, which is nothing, the sum before it and the cost it adds"""
        self._sum_numbers: dict[tuple[int, int], int] = {}
        self._first = [1]
        for row in rows:
            self._first.append(self._first[-1] + len(row))
        self.ends = [-1] * (self._first[-1] - 1)
        self.computing = [
            first - 1 + position
            for first, row in zip(self._first, rows, strict=False)
            for position, op in enumerate(row)
            if op.code is COMPUTE
        ]
        self.clock: list[_Moment] = [(0, 0)] * len(rows)
        self.posted, self.sent, self.arrived, self.needed = ([(-1, 0)] * wires for _ in range(4))
        self.reduced = [-1] * len(structure.collectives)
        self._launches: list[list[_Moment]] = [[] for _ in structure.collectives]
        self._link: dict[tuple[int, int], int] = {}
        self._last_reduce: dict[tuple[int, ...], int] = {}
        self.finished = self._follow_all()

    def _follow_all(self) -> bool:
        rows = self._structure.ops
        position = [0] * len(rows)
        progress = True
        while progress:
            progress = False
            for device, row in enumerate(rows):
                begin = place = position[device]
                while place < len(row) and self._follow(device, place):
                    place += 1
                position[device] = place
                progress = progress or place > begin
        return all(place == len(row) for place, row in zip(position, rows, strict=True))

    def _follow(self, device: int, position: int) -> bool:
        """Adds one action; false if it waits for something that is not there yet."""
        code, _, needs, target = self._structure.ops[device][position]
        if code is COMPUTE:
            return self._compute(device, position, needs)
        if code is SEND:
            self._transmit(device, target)
        elif code is RECEIVE:
            self.posted[target] = self.clock[device]
        elif code is REDUCE:
            self._launch(self.clock[device], target)
        elif code is STEP:
            edges = [self.clock[device]]
            if target >= 0:
                if self.reduced[target] < 0:
                    return False
                edges.append((self.reduced[target], 0))
            self._end(device, position, edges)
        return True

    def _compute(self, device: int, position: int, needs: tuple[int, ...]) -> bool:
        arrived, plus = self.arrived, self._plus
        for number in needs:
            if number < 0 or arrived[number][0] < 0:
                return False
        edges = [self.clock[device]]
        for number in needs:
            # With several messages the wait for a later one starts when the one before is taken over:
            # a moment of its own.
            if len(edges) > 1:
                edges = [(self._node(edges, 0), 0)]
            self.needed[number] = edges[0]
            overhead = _COSTS_A_WIRE * self._structure.wires_alike[number] + 2
            edges = [plus(edges[0], overhead), plus(arrived[number], overhead)]
        self._end(device, position, [plus(edge, _DISPATCH) for edge in edges])
        return True

    def _end(self, device: int, position: int, edges: list[_Moment]) -> None:
        flat = self._first[device] + position
        node = self.ends[flat - 1] = self._node(edges, flat)
        self.clock[device] = (node, 0)

    def _transmit(self, device: int, number: int) -> None:
        kind = self._structure.wires_alike[number]
        costs = _COSTS_A_WIRE * kind + 1
        sent = self.clock[device] = self.sent[number] = self._plus(self.clock[device], costs)
        if not self._queued[kind]:
            self.arrived[number] = self._plus(sent, costs + 2)
            return
        link = (self._structure.sources[number], self._structure.targets[number])
        waits = self._queued[kind] != ALONE and link in self._link
        edges = [sent, (self._link[link], 0)] if waits else [sent]
        self._link[link] = arrival = self._node(edges, self._first[-1] + kind)
        self.arrived[number] = (arrival, 0)

    def _launch(self, clock: _Moment, number: int) -> None:
        members = self._structure.collectives[number][1]
        edges = self._launches[number]
        edges.append(clock)
        if len(edges) < len(members):
            return
        if self._timed[number] and members in self._last_reduce:
            edges.append((self._last_reduce[members], 0))
        own = self._first[-1] + len(self._queued) + number
        self.reduced[number] = node = self._node(edges, own)
        if self._timed[number]:
            self._last_reduce[members] = node

    def _plus(self, moment: _Moment, cost: int) -> _Moment:
        """A moment so much later."""
        key = (moment[1], cost)
        found = self._sum_numbers.get(key)
        if found is None:
            self.sums.append(key)
            found = self._sum_numbers[key] = len(self.sums)
        return moment[0], found

    def _node(self, edges: list[_Moment], own: int) -> int:
        """Beyond two edges, a node without a duration of its own for each."""
        one, other = edges[0], edges[-1]
        for between in edges[1:-1]:
            one = self._append(one, between, 0, single=False), 0
        return self._append(one, other, own, single=len(edges) == 1)

    def _append(self, one: _Moment, other: _Moment, own: int, *, single: bool) -> int:
        self.one.append(one[0])
        self.one_sum.append(one[1])
        self.other.append(other[0])
        self.other_sum.append(other[1])
        self.own.append(own)
        self.single.append(single)
        self.level.append(1 + max(self.level[one[0]], self.level[other[0]]))
        return len(self.own) - 1
