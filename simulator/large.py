"""Very large schedules on profiles without sizes: all devices advance together, action by action, in numpy.

No plan and no graph are made, which take twenty times as long. What is covered, every moment is
a maximum of the device's last end and one producer's end plus a constant; `simulator.compiled`
answers for everything else, and agrees to the nanosecond.
"""

from __future__ import annotations

__all__ = ["LargeRun", "run_large"]

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.actions import Action, Kind
from pipeline.metrics import DeviceMetrics, Metrics
from pipeline.schedule import Schedule
from simulator.collectives import all_reduce_ns
from simulator.durations import Durations
from simulator.network import Network
from simulator.profile import Locality

_Integers = NDArray[np.int64]
_CODES = {Kind.F: 0, Kind.B: 1, Kind.I: 2, Kind.W: 3}
_F, _B, _I, _W = range(4)


@dataclass(frozen=True, slots=True)
class _Arrays:
    """Every action of every device in turn, and where each device's begin."""

    stage: _Integers
    kind: _Integers
    microbatch: _Integers
    device: _Integers
    first: _Integers


@dataclass(frozen=True, slots=True)
class LargeRun:
    """Starts and ends of all actions, devices in turn, in nanoseconds."""

    arrays: _Arrays
    starts: _Integers
    ends: _Integers
    iteration_ns: int
    sends: bool
    """whether any message crosses devices"""

    def metrics(self, samples_per_iteration: int) -> Metrics:
        """As `pipeline.metrics.measure` has them."""
        arrays, work = self.arrays, self.ends - self.starts
        begin = arrays.first[:-1]
        busy = np.add.reduceat(work, begin)
        spans = np.maximum.reduceat(self.ends, begin) - np.minimum.reduceat(self.starts, begin)
        pipeline, ideal, total = int(self.ends.max() - self.starts.min()), int(busy.max()), int(busy.sum())
        longest = max(zip(spans.tolist(), busy.tolist(), strict=True))
        end = self.iteration_ns
        return Metrics(
            pipeline_ns=pipeline,
            iteration_ns=end,
            ideal_ns=ideal,
            bubble_ratio=(len(busy) * pipeline - total) / (len(busy) * pipeline) if pipeline else 0.0,
            bubble_over_ideal=(pipeline - ideal) / ideal if ideal else 0.0,
            bubble_longest_stage=(longest[0] - longest[1]) / longest[0] if longest[0] else 0.0,
            utilisation=total / (len(busy) * end) if end else 0.0,
            throughput_samples_per_s=samples_per_iteration * 1e9 / end if end else None,
            per_device=tuple(DeviceMetrics(d, b, pipeline - b, None) for d, b in enumerate(busy.tolist())),
        )

    def peak_activations(self) -> tuple[float, ...]:
        """As `simulator.inflight.peak_activations` counts them."""
        kind, first = self.arrays.kind, self.arrays.first.tolist()
        stored = (kind == _F).astype(np.int64)
        released = ((kind == _B) | (kind == _W)).astype(np.int64)
        return tuple(
            float((np.cumsum(stored[a:b]) - np.cumsum(released[a:b]) + released[a:b]).max())
            for a, b in pairwise(first)
        )

    def pieces(self) -> dict[tuple[int, Kind, bool, bool], int]:
        """How many actions of each stage and kind, as `simulator.bounds` wants them."""
        found, counts = np.unique(self.arrays.stage * 4 + self.arrays.kind, return_counts=True)
        kinds = list(_CODES)
        return {
            (key // 4, kinds[key % 4], False, False): count
            for key, count in zip(found.tolist(), counts.tolist(), strict=True)
        }


def run_large(durations: Durations, width: int = 1) -> LargeRun | None:
    """The run of a schedule, or None where something in it or in its profile needs another engine."""
    schedule = durations.schedule
    if not _plain_costs(durations, width):
        return None
    arrays = _arrays(schedule)
    if arrays is None:
        return None
    found = _producers(schedule, arrays)
    if found is None:
        return None
    producer, delay = found, _delays(durations, arrays, found)
    table = np.array(
        [[durations.compute_ns(Action(stage, kind, 0)) for kind in _CODES] for stage in range(schedule.stages)], np.int64
    )
    work = table[arrays.stage, arrays.kind]
    dispatch = durations.profile.overheads.dispatch_ns
    ends = _advance(arrays, producer, delay + dispatch, work, dispatch)
    if ends is None:
        return None
    end = int(ends.max()) + durations.profile.overheads.iteration_ns
    return LargeRun(arrays, ends - work, ends, end, bool((arrays.device != arrays.device[producer]).any()))


def _plain_costs(durations: Durations, width: int) -> bool:
    """Messages are pure delays, all-reduces and steps take no time, nothing slows anything down."""
    schedule, profile = durations.schedule, durations.profile
    if schedule.update != "flush" or profile.cores is not None or profile.locality != Locality():
        return False
    if profile.topology.devices_per_node is not None:
        return False
    if any(link.queueing or link.send_overhead_ns or link.receive_overhead_ns for link in profile.links.values()):
        return False
    for stage in range(schedule.stages):
        if durations.stage(stage).boundary_bytes or durations.step_ns(stage):
            return False
        group = len(schedule.replica_devices(stage)) * width
        if all_reduce_ns(profile.all_reduce, durations.stage(stage).gradient_bytes, group):
            return False
    return True


def _arrays(schedule: Schedule) -> _Arrays | None:
    """The schedule as arrays; None for pairs, doubled forwards and half backwards, and idle devices."""
    if not all(schedule.actions):
        return None
    columns: list[list[Iterable[int]]] = [[], [], []]
    for row in schedule.actions:
        if any(len(action) != 5 for action in row):
            return None
        stages, kinds, microbatches, also, half = zip(*row, strict=True)
        if max(also) >= 0 or max(half) >= 0:
            return None
        for column, values in zip(columns, (stages, [_CODES[kind] for kind in kinds], microbatches), strict=True):
            column.append(values)
    lengths = [len(row) for row in schedule.actions]
    stage, kind, microbatch = (np.fromiter(chain.from_iterable(column), np.int64) for column in columns)
    device = np.repeat(np.arange(schedule.devices), lengths)
    return _Arrays(stage, kind, microbatch, device, np.concatenate([[0], np.cumsum(lengths)]))


def _producers(schedule: Schedule, arrays: _Arrays) -> _Integers | None:
    """The action whose message or result each one waits for (itself if none); None if work is missing or misplaced.

    What an action needs of its own device's earlier actions, their order settles.
    """
    count, total = schedule.microbatches, len(arrays.stage)
    stage, kind, microbatch = arrays.stage, arrays.kind, arrays.microbatch
    places = np.array(schedule.placement)[np.array(schedule.replica_of)[microbatch], stage]
    if (places != arrays.device).any():
        return None
    cell = stage * count + microbatch
    numbers = np.arange(total)
    where = np.full((3, schedule.stages * count), -1, np.int64)
    for row, those in enumerate((kind == _F, (kind == _B) | (kind == _I), kind == _W)):
        where[row, cell[those]] = numbers[those]
    split = int((kind == _I).sum())
    if (where[:2] < 0).any() or total != 2 * schedule.stages * count + split or (where[2] >= 0).sum() != split:
        return None
    own = np.where(kind == _W, where[1, cell], where[0, cell])
    if (own[kind != _F] >= numbers[kind != _F]).any():
        return None
    producer = numbers.copy()
    later = (kind == _F) & (stage > 0)
    producer[later] = where[0, cell[later] - count]
    earlier = ((kind == _B) | (kind == _I)) & (stage < schedule.stages - 1)
    producer[earlier] = where[1, cell[earlier] + count]
    return producer


def _delays(durations: Durations, arrays: _Arrays, producer: _Integers) -> _Integers:
    """Nanoseconds from the producer's end to the message's arrival; zero on one device."""
    network, devices = Network(durations.profile), durations.schedule.devices
    pair = arrays.device[producer] * devices + arrays.device
    found, inverse = np.unique(pair, return_inverse=True)
    costs = [
        0 if key // devices == key % devices else network.occupancy_ns(key // devices, key % devices, 0)
        for key in found.tolist()
    ]
    return np.array(costs, np.int64)[inverse]


def _advance(
    arrays: _Arrays, producer: _Integers, delay: _Integers, work: _Integers, dispatch: int
) -> _Integers | None:
    """Ends of all actions; every round, each device whose next action has all it needs takes it."""
    ends = np.full(len(work), -1, np.int64)
    alone = producer == np.arange(len(work))
    position, last = arrays.first[:-1].copy(), arrays.first[1:]
    clock = np.zeros(len(last), np.int64)
    live = np.arange(len(last))
    while len(live):
        at = position[live]
        source = ends[producer[at]]
        free = alone[at]
        ready = (source >= 0) | free
        if not ready.any():
            return None
        if not ready.all():
            at, source, free, moved = at[ready], source[ready], free[ready], live[ready]
        else:
            moved = live
        start = np.maximum(clock[moved] + dispatch, np.where(free, 0, source + delay[at]))
        end = start + work[at]
        ends[at] = clock[moved] = end
        position[moved] += 1
        if (at + 1 == last[moved]).any():
            live = live[position[live] < last[live]]
    return ends
