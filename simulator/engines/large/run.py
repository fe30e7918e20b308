"""Very large schedules: all devices advance together, action by action, in numpy.

No plan and no graph are made, which take twenty times as long. What is covered (private links, one
message an action, all-reduces that slow nobody down), every moment is a maximum of the device's
last end and one message's arrival; `engines.compiled.longest_path` answers for everything else, and agrees to
the nanosecond (and `chimera.simulator.engines.large.memory` to the byte).
"""

from __future__ import annotations

__all__ = ["LargeRun", "run_large"]

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.metrics import Computed, Metrics, judge
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.network import Network
from chimera.simulator.costs.profile import Locality
from chimera.simulator.engines.compiled.longest_path import MOST_NS
from chimera.simulator.engines.large.order import CODES, Arrays, Costs, Integers, advance, arrays_of, producers
from chimera.simulator.engines.large.steps import steps_end

_F, _B, _W = CODES[Kind.F], CODES[Kind.B], CODES[Kind.W]


@dataclass(frozen=True, slots=True)
class LargeRun:
    """Starts and ends of all actions, devices in turn, in nanoseconds."""

    arrays: Arrays
    producer: Integers
    """the action whose message or result each one waits for; itself if there is none"""
    starts: Integers
    ends: Integers
    sent: Integers
    """when an action's result is sent, or its end if the result stays"""
    arrived: Integers
    """when it has arrived"""
    iteration_ns: int
    free: bool
    """whether messages cross devices and none takes time"""

    def metrics(self, samples_per_iteration: int, peaks: Sequence[int] | None = None) -> Metrics:
        """As of a timeline; `peaks` are the devices' bytes where sizes are known."""
        begin = self.arrays.first[:-1]
        first, last = np.minimum.reduceat(self.starts, begin), np.maximum.reduceat(self.ends, begin)
        busy = np.add.reduceat(self.ends - self.starts, begin)
        computed = map(Computed, first.tolist(), last.tolist(), busy.tolist())
        return judge(list(computed), self.iteration_ns, peaks or (), samples_per_iteration)

    def peak_activations(self) -> tuple[float, ...]:
        """As `chimera.pipeline.inflight.peak_activations` counts them."""
        kind, first = self.arrays.kind, self.arrays.first.tolist()
        stored = (kind == _F).astype(np.int64)
        released = ((kind == _B) | (kind == _W)).astype(np.int64)
        return tuple(
            float((np.cumsum(stored[a:b]) - np.cumsum(released[a:b]) + released[a:b]).max()) for a, b in pairwise(first)
        )

    def pieces(self) -> Counter[tuple[int, Kind, bool, bool]]:
        """How many actions of each stage and kind, as `chimera.simulator.reasons.bounds` wants them."""
        found, counts = np.unique(self.arrays.stage * 4 + self.arrays.kind, return_counts=True)
        kinds = list(CODES)
        return Counter(
            {
                (key // 4, kinds[key % 4], False, False): count
                for key, count in zip(found.tolist(), counts.tolist(), strict=True)
            }
        )


def run_large(durations: Durations, width: int = 1) -> LargeRun | None:
    """The run of a schedule, or None where something in it or in its profile needs another engine."""
    schedule = durations.schedule
    arrays = arrays_of(schedule) if _plain(durations) else None
    producer = None if arrays is None else producers(schedule, arrays)
    if arrays is None or producer is None:
        return None
    try:
        costs = _costs(durations, arrays, producer)
    except OverflowError:
        return None
    moments = None if _too_long(costs) else advance(arrays, producer, costs)
    if moments is None:
        return None
    end = steps_end(durations, arrays, producer, moments.sent, width)
    if end is None:
        return None
    starts = moments.ends - _work(durations, arrays)
    timed = any(column.any() for column in (costs.send, costs.receive, costs.occupancy))
    free = not timed and bool((arrays.device != arrays.device[producer]).any())
    return LargeRun(arrays, producer, starts, *moments, end + durations.profile.overheads.iteration_ns, free)


def _plain(durations: Durations) -> bool:
    """Every message has its link, nothing slows anything down, and weights wait for a flush."""
    schedule, profile = durations.schedule, durations.profile
    if schedule.update != "flush" or profile.cores is not None or profile.locality != Locality():
        return False
    return Network(profile).contention is None


def _too_long(costs: Costs) -> bool:
    """Whether all actions one after another, each with its message, might not fit into 64 bits."""
    parts = (costs.work, costs.send, costs.receive, costs.occupancy)
    total = sum(float(part.sum(dtype=np.float64)) for part in parts)
    return total + float(costs.dispatch) * len(costs.work) > MOST_NS


def _work(durations: Durations, arrays: Arrays) -> Integers:
    """Nanoseconds of all computations."""
    stages = range(durations.schedule.stages)
    table = [[durations.compute_ns(Action(stage, kind, 0)) for kind in CODES] for stage in stages]
    found: Integers = np.array(table, np.int64)[arrays.stage, arrays.kind]
    return found


def _costs(durations: Durations, arrays: Arrays, producer: Integers) -> Costs:
    """What actions cost, and the messages that cross devices."""
    schedule, network = durations.schedule, Network(durations.profile)
    costs = Costs.of_work(_work(durations, arrays))
    crossing = np.flatnonzero(arrays.device[producer] != arrays.device)
    senders = producer[crossing]
    pair = arrays.device[senders] * schedule.devices + arrays.device[crossing]
    key = (pair * schedule.stages + arrays.stage[crossing]) * len(CODES) + arrays.kind[crossing]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rows = []
    for example in first.tolist():
        place = int(crossing[example])
        source, target = divmod(int(pair[example]), schedule.devices)
        receive = Action(int(arrays.stage[place]), Kind.RECV_F if arrays.kind[place] == _F else Kind.RECV_B, 0)
        link, occupancy = (
            network.link(source, target),
            network.occupancy_ns(source, target, durations.message_bytes(receive)),
        )
        rows.append((link.send_overhead_ns, link.receive_overhead_ns, occupancy, link.queueing))
    send, receive_ns, occupancy_ns, queued = np.array(rows, np.int64).reshape(-1, 4)[inverse].T
    columns = {name: np.zeros_like(costs.work) for name in ("send", "receive", "occupancy", "link")}
    columns["send"][senders], columns["occupancy"][senders] = send, occupancy_ns
    columns["receive"][crossing] = receive_ns
    columns["link"][senders] = 1 + np.unique(pair, return_inverse=True)[1]
    waits = np.zeros(len(costs.work), np.bool_)
    waits[senders] = queued > 0
    return replace(costs, dispatch=durations.profile.overheads.dispatch_ns, queued=waits, **columns)
