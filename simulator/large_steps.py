"""The end of a very large schedule: optimizer steps behind all-reduces that take no time but must be launched."""

from __future__ import annotations

__all__ = ["steps_end"]

from itertools import pairwise

import numpy as np

from pipeline.order import Walk
from pipeline.schedule import Schedule
from pipeline.synchronisation import synchronise
from simulator.durations import Durations
from simulator.large_order import Arrays, Integers, advance

_SLOTS = np.array([1, 2, 1, 1], np.int64)
"""of F, B, I and W: `pipeline.order.unit_duration`"""


def steps_end(durations: Durations, arrays: Arrays, producer: Integers, ends: Integers, width: int) -> int:
    """When every device has taken its optimizer steps, in nanoseconds: stages ascending, each behind its all-reduce."""
    schedule = durations.schedule
    if not any(map(durations.step_ns, range(schedule.stages))):
        return int(ends.max())
    launched = _launched(schedule, arrays, producer, ends, width)
    clocks = []
    for device, last in enumerate((arrays.first[1:] - 1).tolist()):
        clock = int(ends[last])
        for stage in schedule.stages_on(device):
            clock = max(clock, launched.get(stage, 0)) + durations.step_ns(stage)
        clocks.append(clock)
    return max(clocks)


def _launched(
    schedule: Schedule, arrays: Arrays, producer: Integers, ends: Integers, width: int
) -> dict[int, int]:
    """When the last member launches each stage's all-reduce."""
    found: dict[int, int] = {}
    places = synchronise(schedule, _walk(arrays, producer), width).after
    for first, launches in zip(arrays.first.tolist(), places, strict=False):
        for place, actions in launches.items():
            moment = int(ends[first + place]) if place >= 0 else 0
            for action in actions:
                found[action.stage] = max(found.get(action.stage, 0), moment)
    return found


def _walk(arrays: Arrays, producer: Integers) -> Walk:
    """What `pipeline.order.walk` says, which takes ten times as long."""
    work = _SLOTS[arrays.kind]
    ends = advance(arrays, producer, np.zeros_like(work), work, 0)
    assert ends is not None, "the order was followed before"
    bounds = list(pairwise(arrays.first.tolist()))
    starts = ends - work
    return Walk([starts[a:b].tolist() for a, b in bounds], [ends[a:b].tolist() for a, b in bounds], {})
