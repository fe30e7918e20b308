"""The compiled engine: the same plan as one longest-path problem, solved for many cost samples at once.

Where links are private and all-reduces cannot overtake one another, every moment of an iteration is
a maximum of earlier moments plus constants: the device's previous action, the messages it needs,
the message before it on the same link. The graph is built once from a workload; numpy then walks it
level by level, all samples of a level together. Times are integers and equal the reference
engine's, moment by moment. What contends (shared NICs, all-reduces of groups that share only some
devices, cores shared by devices) is refused with the reason.
"""

from __future__ import annotations

__all__ = ["CompiledWorkload", "contention"]

from itertools import combinations

import numpy as np

from pipeline.errors import InputError
from simulator import engine as reference
from simulator.levels import Chain, Integers, Level
from simulator.sharing import sharing_reason
from simulator.times import Times
from simulator.workload import COMPUTE, RECEIVE, REDUCE, SEND, STEP, Workload

_Moment = tuple[int, int]
"""A moment: a node of the graph, and nanoseconds after it."""
_CHUNK_BYTES = 64 * 2**20
_NARROW = 45
"""nodes a level below which a single sample is walked faster node by node than level by level"""


def contention(workload: Workload) -> str | None:
    """Why the compiled engine cannot answer for this workload, or None if it can."""
    if workload.network.shared:
        return "messages of different pairs share a NIC"
    shared = sharing_reason(workload)
    if shared:
        return shared
    collectives = [c for c in workload.collectives if c.duration_ns]
    groups = {frozenset(collective.members) for collective in collectives}
    for ours, theirs in combinations(groups, 2):
        if ours & theirs:
            return f"all-reduces over devices {sorted(ours)} and {sorted(theirs)} can overtake one another"
    orders: dict[frozenset[int], list[int]] = {}
    for device, ops in enumerate(workload.ops):
        launched = [op.target for op in ops if op.code is REDUCE and workload.collectives[op.target].duration_ns]
        if launched and orders.setdefault(frozenset(workload.collectives[launched[0]].members), launched) != launched:
            return f"device {device} launches its all-reduces in another order than its group"
    return None


class CompiledWorkload:
    """The graph of a workload; raises InputError with the reason if something in it contends."""

    def __init__(self, workload: Workload) -> None:
        reason = contention(workload)
        if reason:
            raise InputError("engine 'compiled'", f"cannot answer: {reason}", "use --engine simpy")
        self.workload = workload
        self._edges: list[list[_Moment]] = [[]]
        self._work: list[int] = [0]
        self._ends: list[list[int]] = [[-1] * len(ops) for ops in workload.ops]
        self._clock: list[_Moment] = [(0, 0)] * len(workload.ops)
        self._posted: list[_Moment] = [(0, 0)] * len(workload.messages)
        self._needed = list(self._posted)
        self._sent = list(self._posted)
        self._arrived: list[_Moment | None] = [None] * len(workload.messages)
        self._reduced: list[int | None] = [None] * len(workload.collectives)
        self._launches: list[list[_Moment]] = [[] for _ in workload.collectives]
        self._link: dict[int, int] = {}
        self._last_reduce: dict[tuple[int, ...], int] = {}
        self._build()
        self._sort()

    def _node(self, edges: list[_Moment], work: int) -> int:
        self._edges.append(edges)
        self._work.append(work)
        return len(self._work) - 1

    def _build(self) -> None:
        """Goes through the rows as far as each can get, in turn; the reference engine reports a deadlock."""
        position = [0] * len(self.workload.ops)
        progress = True
        while progress:
            progress = False
            for device, ops in enumerate(self.workload.ops):
                while position[device] < len(ops) and self._follow(device, position[device]):
                    position[device] += 1
                    progress = True
        if any(place < len(ops) for place, ops in zip(position, self.workload.ops, strict=True)):
            reference.run(self.workload)
            raise AssertionError("the reference engine finishes what the compiled one cannot")

    def _follow(self, device: int, position: int) -> bool:
        """Adds one action to the graph; false if it waits for something that is not there yet."""
        code, _, needs, target = self.workload.ops[device][position]
        clock, work = self._clock[device], self.workload.work_ns[device][position]
        if code == COMPUTE:
            return self._compute(device, position, needs, work)
        if code == SEND:
            self._transmit(device, target)
        elif code == RECEIVE:
            self._posted[target] = clock
        elif code == REDUCE:
            self._launch(clock, target)
        elif code == STEP:
            edges = [clock]
            if target >= 0:
                reduced = self._reduced[target]
                if reduced is None:
                    return False
                edges.append((reduced, 0))
            self._end(device, position, edges, work)
        return True

    def _compute(self, device: int, position: int, needs: tuple[int, ...], work: int) -> bool:
        if any(number < 0 or self._arrived[number] is None for number in needs):
            return False
        dispatch = self.workload.profile.overheads.dispatch_ns
        edges = [self._clock[device]]
        for number in needs:
            arrived = self._arrived[number]
            assert arrived is not None
            # With several messages the wait for a later one starts when the one before is taken over:
            # a moment of its own.
            if len(edges) > 1:
                edges = [(self._node(edges, 0), 0)]
            self._needed[number] = edges[0]
            overhead = self.workload.messages[number].receive_overhead_ns
            edges = [(node, offset + overhead) for node, offset in (*edges, arrived)]
        self._end(device, position, [(node, offset + dispatch) for node, offset in edges], work)
        return True

    def _end(self, device: int, position: int, edges: list[_Moment], work: int) -> None:
        node = self._ends[device][position] = self._node(edges, work)
        self._clock[device] = (node, 0)

    def _transmit(self, device: int, number: int) -> None:
        message = self.workload.messages[number]
        node, offset = self._clock[device]
        sent = self._clock[device] = self._sent[number] = (node, offset + message.send_overhead_ns)
        if not message.resources:
            self._arrived[number] = (sent[0], sent[1] + message.occupancy_ns)
            return
        (link,) = message.resources
        before = [(self._link[link], 0)] if link in self._link else []
        self._link[link] = arrival = self._node([sent, *before], message.occupancy_ns)
        self._arrived[number] = (arrival, 0)

    def _launch(self, clock: _Moment, number: int) -> None:
        _, members, duration = self.workload.collectives[number]
        self._launches[number].append(clock)
        if len(self._launches[number]) < len(members):
            return
        edges = list(self._launches[number])
        if duration and members in self._last_reduce:
            edges.append((self._last_reduce[members], 0))
        self._reduced[number] = node = self._node(edges, duration)
        if duration:
            self._last_reduce[members] = node

    def _sort(self) -> None:
        """Numbers the nodes by level and lays out each level's edges."""
        level = [0] * len(self._work)
        for node, edges in enumerate(self._edges):
            if node:
                level[node] = 1 + max(level[source] for source, _ in edges)
        order = sorted(range(len(level)), key=level.__getitem__)
        self._place = np.empty(len(order), np.int64)
        self._place[order] = np.arange(len(order))
        self._levels: list[Level] = []
        bounds = np.searchsorted([level[node] for node in order], np.arange(1, level[order[-1]] + 2))
        for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            groups = [self._edges[node] for node in order[first:last]]
            columns = max(map(len, groups))
            padded = [[*group, *[group[0]] * (columns - len(group))] for group in groups]
            table = np.array(padded, np.int64)
            self._levels.append(Level(first, last, self._place[table[:, :, 0].T], table[:, :, 1].T[:, :, None].copy()))
        self._base = np.array([self._work[node] for node in order], np.int64)[:, None]
        self._finals = [*self._clock, *((node, 0) for node in self._reduced if node is not None)]
        self._last = self._place[[node for node, _ in self._finals]]
        self._last_offsets = np.array([offset for _, offset in self._finals], np.int64)[:, None]
        self._rows = self._place[self._compute_nodes()]
        self._chain: Chain | None = None

    def values(self, work: Integers) -> Integers:
        """The moments of all nodes (rows, by level) for each sample (columns) of the nodes' work."""
        if work.shape[1] == 1 and len(work) < _NARROW * len(self._levels):
            if self._chain is None:
                self._chain = Chain(self._levels)
            return self._chain.values(work)
        values = np.zeros_like(work)
        for level in self._levels:
            found = values[level.first : level.last]
            for column, (sources, weights) in enumerate(zip(level.sources, level.weights, strict=True)):
                if column == 0:
                    np.add(values[sources], weights, out=found)
                else:
                    np.maximum(found, values[sources] + weights, out=found)
            found += work[level.first : level.last]
        return values

    def iteration_ns(self, work_ns: Integers) -> Integers:
        """Iteration times for samples of durations, shape (samples, computations), devices in turn."""
        chunk = max(1, _CHUNK_BYTES // (8 * len(self._work)))
        found = []
        for begin in range(0, len(work_ns), chunk):
            part = work_ns[begin : begin + chunk]
            work = np.repeat(self._base, len(part), axis=1)
            work[self._rows] = part.T
            found.append(self._end_of(self.values(work)))
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _compute_nodes(self) -> list[int]:
        return [
            node
            for ops, ends in zip(self.workload.ops, self._ends, strict=True)
            for op, node in zip(ops, ends, strict=True)
            if op.code is COMPUTE
        ]

    def _end_of(self, values: Integers) -> Integers:
        ends = values[self._last] + self._last_offsets
        found: Integers = ends.max(axis=0) + self.workload.profile.overheads.iteration_ns
        return found

    def times(self) -> Times:
        """All moments of the expected case, as the reference engine gives them."""
        values = self.values(self._base)
        at = values[self._place, 0].tolist()

        def moments(those: list[_Moment]) -> list[int]:
            return [at[node] + offset for node, offset in those]

        times = Times.of(self.workload)
        times.posted, times.sent, times.needed = moments(self._posted), moments(self._sent), moments(self._needed)
        times.arrived = moments([moment for moment in self._arrived if moment is not None])
        for device, nodes in enumerate(self._ends):
            work = self.workload.work_ns[device]
            times.ends[device] = [at[node] if node >= 0 else -1 for node in nodes]
            times.starts[device] = [
                at[node] - work[position] if node >= 0 else -1 for position, node in enumerate(nodes)
            ]
        times.reduces = [
            (at[node] - collective.duration_ns, at[node])
            for node, collective in zip(self._reduced, self.workload.collectives, strict=True)
            if node is not None
        ]
        times.end_ns = int(self._end_of(values)[0])
        return times
