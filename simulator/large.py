"""Very large schedules whose messages are pure delays: all devices advance together, action by action, in numpy.

No plan and no graph are made, which take twenty times as long. What is covered, every moment is
a maximum of the device's last end and one producer's end plus a constant; `simulator.compiled`
answers for everything else, and agrees to the nanosecond (and `simulator.large_memory` to the byte).
"""

from __future__ import annotations

__all__ = ["LargeRun", "run_large"]

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.actions import Action, Kind
from pipeline.metrics import DeviceMetrics, Metrics
from simulator.collectives import all_reduce_ns
from simulator.durations import Durations
from simulator.large_order import CODES, Arrays, Integers, advance, arrays_of, producers
from simulator.large_steps import steps_end
from simulator.network import Network
from simulator.profile import Locality

_F, _B, _W = CODES[Kind.F], CODES[Kind.B], CODES[Kind.W]


@dataclass(frozen=True, slots=True)
class LargeRun:
    """Starts and ends of all actions, devices in turn, in nanoseconds."""

    arrays: Arrays
    producer: Integers
    """the action whose message or result each one waits for; itself if there is none"""
    delay: Integers
    """from the producer's end to the message's arrival"""
    starts: Integers
    ends: Integers
    iteration_ns: int
    sends: bool
    """whether any message crosses devices"""

    def metrics(self, samples_per_iteration: int, peaks: Sequence[int] | None = None) -> Metrics:
        """As `pipeline.metrics.measure` has them; `peaks` are the devices' bytes where sizes are known."""
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
            per_device=tuple(
                DeviceMetrics(device, work, pipeline - work, None if peaks is None else peaks[device])
                for device, work in enumerate(busy.tolist())
            ),
        )

    def peak_activations(self) -> tuple[float, ...]:
        """As `simulator.inflight.peak_activations` counts them."""
        kind, first = self.arrays.kind, self.arrays.first.tolist()
        stored = (kind == _F).astype(np.int64)
        released = ((kind == _B) | (kind == _W)).astype(np.int64)
        return tuple(
            float((np.cumsum(stored[a:b]) - np.cumsum(released[a:b]) + released[a:b]).max()) for a, b in pairwise(first)
        )

    def pieces(self) -> dict[tuple[int, Kind, bool, bool], int]:
        """How many actions of each stage and kind, as `simulator.bounds` wants them."""
        found, counts = np.unique(self.arrays.stage * 4 + self.arrays.kind, return_counts=True)
        kinds = list(CODES)
        return {
            (key // 4, kinds[key % 4], False, False): count
            for key, count in zip(found.tolist(), counts.tolist(), strict=True)
        }


def run_large(durations: Durations, width: int = 1) -> LargeRun | None:
    """The run of a schedule, or None where something in it or in its profile needs another engine."""
    schedule = durations.schedule
    if not _plain_costs(durations, width):
        return None
    arrays = arrays_of(schedule)
    if arrays is None:
        return None
    producer = producers(schedule, arrays)
    if producer is None:
        return None
    delay = _delays(durations, arrays, producer)
    table = np.array(
        [[durations.compute_ns(Action(stage, kind, 0)) for kind in CODES] for stage in range(schedule.stages)], np.int64
    )
    work = table[arrays.stage, arrays.kind]
    dispatch = durations.profile.overheads.dispatch_ns
    ends = advance(arrays, producer, delay + dispatch, work, dispatch)
    if ends is None:
        return None
    end = steps_end(durations, arrays, producer, ends, width) + durations.profile.overheads.iteration_ns
    crossing = bool((arrays.device != arrays.device[producer]).any())
    return LargeRun(arrays, producer, delay, ends - work, ends, end, crossing)


def _plain_costs(durations: Durations, width: int) -> bool:
    """Messages are pure delays, all-reduces take no time, nothing slows anything down."""
    schedule, profile = durations.schedule, durations.profile
    if schedule.update != "flush" or profile.cores is not None or profile.locality != Locality():
        return False
    if any(link.queueing or link.send_overhead_ns or link.receive_overhead_ns for link in profile.links.values()):
        return False
    for stage in range(schedule.stages):
        group = len(schedule.replica_devices(stage)) * width
        if all_reduce_ns(profile.all_reduce, durations.stage(stage).gradient_bytes, group):
            return False
    return True


def _delays(durations: Durations, arrays: Arrays, producer: Integers) -> Integers:
    """Nanoseconds from the producer's end to the message's arrival; zero on one device."""
    network, devices = Network(durations.profile), durations.schedule.devices
    pair = arrays.device[producer] * devices + arrays.device
    key = (pair * durations.schedule.stages + arrays.stage) * len(CODES) + arrays.kind
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    costs = []
    for example in first.tolist():
        source, target = divmod(int(pair[example]), devices)
        receive = Action(int(arrays.stage[example]), Kind.RECV_F if arrays.kind[example] == _F else Kind.RECV_B, 0)
        size = durations.message_bytes(receive)
        costs.append(0 if source == target else network.occupancy_ns(source, target, size))
    return np.array(costs, np.int64)[inverse]
