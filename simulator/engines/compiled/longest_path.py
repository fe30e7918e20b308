"""The compiled engine: the same plan as one longest-path problem, solved for many cost samples at once.

Where links are private and all-reduces cannot overtake one another, every moment of an iteration is
a maximum of earlier moments plus constants: the device's previous action, the messages it needs,
the message before it on the same link. The graph is built once from a workload; numpy then walks it
level by level, all samples of a level together. Times are integers and equal the reference
engine's, moment by moment. What contends (shared NICs, all-reduces of groups that share only some
devices, cores shared by devices) is refused with the reason, and so are times that 64 bits might not hold.
"""

from __future__ import annotations

__all__ = ["MOST_NS", "CompiledWorkload"]

from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from chimera.pipeline.errors import InputError
from chimera.simulator.draws.sampling import varies_between_devices
from chimera.simulator.engines.compiled.graph import ALONE, Graph, Moments, graph_of
from chimera.simulator.engines.compiled.levels import Weights, walk_levels, walk_nodes
from chimera.simulator.engines.direct import engine as direct
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.contention import contention
from chimera.simulator.workload.workload import STEP, Workload

Integers = NDArray[np.int64]
_CHUNK_BYTES, _MOST_BYTES = 16 * 2**20, 128 * 2**20
"""of moments held at once, and where that is fewer than `_ENOUGH` samples"""
_ENOUGH = 256
"""samples with which numpy's calls cost little beside their work"""
_BLOCK = 64
"""samples turned round at once: columns of thousands of samples would evict one another from the cache"""
_NARROW = 45
"""nodes a level below which a single sample is walked faster node by node than level by level"""


MOST_NS = 2.0**60
"""what all durations together may come to: 64 bits hold eight times as much, for draws that are longer"""
_TOO_LONG = "its durations add up to more than 64 bits hold"


def _refusal(reason: str) -> InputError:
    return InputError("engine 'compiled'", f"cannot answer: {reason}", "use --engine simpy")


class CompiledWorkload:
    """The graph of a workload and its costs; raises InputError with the reason if it cannot answer."""

    def __init__(self, workload: Workload) -> None:
        reason = contention(workload)
        if reason:
            raise _refusal(reason)
        self.workload = workload
        delay = ALONE if varies_between_devices(workload) else 0
        queued = [1 if kind.resources else delay for kind in workload.message_kinds]
        timed = [bool(collective.duration_ns) for collective in workload.collectives]
        self.graph: Graph = graph_of(workload.structure, tuple(queued), tuple(timed))
        if self.graph.stuck:
            direct.run(workload)
            raise AssertionError("the direct engine finishes what the compiled one cannot")
        try:
            self._cost(workload)
        except OverflowError:
            raise _refusal(_TOO_LONG) from None
        codes = np.fromiter((op.code for ops in workload.ops for op in ops), np.int64)
        steps = self.graph.ends[codes == STEP]
        self._drawable = np.concatenate([self.graph.computed, steps, self.graph.arrived.nodes, self.graph.reduced])
        """the nodes whose durations `chimera.simulator.draws.sampling.draw` draws, in the order of its columns"""

    def _cost(self, workload: Workload) -> None:
        """Durations of the nodes and sums on the edges; raises OverflowError for those that may add up to too much."""
        graph, kinds = self.graph, workload.message_kinds
        wires = [(kind.send_overhead_ns, kind.receive_overhead_ns, kind.occupancy_ns) for kind in kinds]
        self._weights = Weights(graph, graph.sums(workload.profile.overheads.dispatch_ns, wires))
        self._work = np.fromiter(chain.from_iterable(workload.work_ns), np.int64)
        own = [[0], self._work, [kind.occupancy_ns for kind in kinds], [c.duration_ns for c in workload.collectives]]
        durations = np.concatenate([np.array(part, np.int64) for part in own])[graph.own]
        most = durations.sum(dtype=np.float64) + len(durations) * float(self._weights.sums.max(initial=0))
        if most > MOST_NS:
            raise OverflowError
        self._base = durations + self._weights.both

    def iteration_ns(self, work_ns: Integers) -> Integers:
        """Iteration times for samples of durations, shape (samples, columns): see `simulator.draws.sampling.draw`."""
        if len(work_ns) == 1:
            values, nodes = self._base.copy(), self._drawable[: work_ns.shape[1]]
            values[nodes] = work_ns[0] + self._weights.both[nodes]
            return self._end_of(self._moments(values)[:, None])
        size = 8 * len(self._base)
        chunk = min(max(_BLOCK, _CHUNK_BYTES // size, min(_ENOUGH, _MOST_BYTES // size)), len(work_ns))
        # One room for all chunks: the kernel would hand out (and clear) every page of each anew.
        room, found = np.empty(len(self._base) * chunk, np.int64), np.empty(len(work_ns), np.int64)
        for begin in range(0, len(work_ns), chunk or 1):
            found[begin : begin + chunk] = self._drawn(work_ns[begin : begin + chunk], room)
        return found

    def _drawn(self, work_ns: Integers, room: Integers) -> Integers:
        """Iteration times of a chunk that is walked at once."""
        computed, shape = self._drawable[: work_ns.shape[1]], (len(self._base), len(work_ns))
        values = room[: shape[0] * shape[1]].reshape(shape)
        values[:] = self._base[:, None]
        both = self._weights.both[computed]
        for begin in range(0, len(work_ns), _BLOCK):
            values[computed, begin : begin + _BLOCK] = (work_ns[begin : begin + _BLOCK] + both).T
        walk_levels(self._weights, values)
        return self._end_of(values)

    def _moments(self, values: Integers) -> Integers:
        """Of one sample."""
        if len(values) < _NARROW * len(self.graph.paired):
            return walk_nodes(self._weights, values)
        column = values[:, None].copy()
        walk_levels(self._weights, column)
        found: Integers = column[:, 0]
        return found

    def _end_of(self, values: Integers) -> Integers:
        ends = values[self.graph.last.nodes] + self._weights.sums[self.graph.last.sums][:, None]
        found: Integers = ends.max(axis=0) + self.workload.profile.overheads.iteration_ns
        return found

    def times(self) -> Times:
        """All moments of the expected case, as the reference engine gives them."""
        values, graph = self._moments(self._base), self.graph
        times = Times.of(self.workload)
        times.posted, times.sent = self._at(values, graph.posted), self._at(values, graph.sent)
        times.arrived, times.needed = self._at(values, graph.arrived), self._at(values, graph.needed)
        ends = np.where(graph.ends >= 0, values[graph.ends], -1)
        starts = np.where(graph.ends >= 0, ends - self._work, -1)
        bounds = [0, *np.cumsum([len(row) for row in self.workload.ops]).tolist()]
        times.starts = [starts[first:last].tolist() for first, last in pairwise(bounds)]
        times.ends = [ends[first:last].tolist() for first, last in pairwise(bounds)]
        finished = values[graph.reduced].tolist()
        times.reduces = [(end - c.duration_ns, end) for end, c in zip(finished, self.workload.collectives, strict=True)]
        times.end_ns = int(self._end_of(values[:, None])[0])
        return times

    def _at(self, values: Integers, moments: Moments) -> list[int]:
        found: list[int] = np.where(
            moments.nodes >= 0, values[moments.nodes] + self._weights.sums[moments.sums], -1
        ).tolist()
        return found
