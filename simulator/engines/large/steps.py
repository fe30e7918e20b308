"""The end of a very large schedule: all-reduces, and the optimizer steps that wait for them."""

from __future__ import annotations

__all__ = ["steps_end"]

from itertools import combinations, pairwise

import numpy as np

from chimera.pipeline.grid import Grid
from chimera.pipeline.lowering.order import Walk
from chimera.pipeline.lowering.synchronisation import synchronise
from chimera.pipeline.schedule import Schedule
from chimera.simulator.costs.collectives import all_reduce_ns, cost_among
from chimera.simulator.costs.durations import Durations
from chimera.simulator.engines.large.order import Arrays, Costs, Integers, advance

_SLOTS = np.array([1, 2, 1, 1], np.int64)
"""of F, B, I and W: `chimera.pipeline.lowering.order.unit_duration`"""


def steps_end(durations: Durations, arrays: Arrays, producer: Integers, sent: Integers, width: int) -> int | None:
    """When every device has taken its optimizer steps, in nanoseconds: stages ascending, each behind its all-reduce.

    `sent` are the moments at which devices are done with each action. None where all-reduces contend.
    """
    schedule = durations.schedule
    durations_ns = _all_reduces(durations, width)
    if not any(durations_ns) and not any(map(durations.step_ns, range(schedule.stages))):
        return int(sent.max())
    if _contend(durations, durations_ns):
        return None
    reduced = _reduced(schedule, durations_ns, _launches(schedule, arrays, producer, sent, width))
    clocks = []
    for device, last in enumerate((arrays.first[1:] - 1).tolist()):
        clock = int(sent[last])
        for stage in schedule.stages_on(device):
            clock = max(clock, reduced.get(stage, 0)) + durations.step_ns(stage)
        clocks.append(clock)
    return max(clocks)


def _all_reduces(durations: Durations, width: int) -> list[int]:
    """Nanoseconds of every stage's all-reduce, as `chimera.simulator.workload.workload` has them."""
    schedule, found = durations.schedule, []
    for stage in range(schedule.stages):
        ranks = Grid(schedule.devices, width).replica_ranks(schedule, stage)
        cost = cost_among(durations.profile, ranks)
        found.append(all_reduce_ns(cost, durations.stage(stage).gradient_bytes, len(ranks)))
    return found


def _contend(durations: Durations, durations_ns: list[int]) -> bool:
    """Whether all-reduces slow computations down or overtake one another."""
    cost, schedule = durations.profile.all_reduce, durations.schedule
    groups = {frozenset(schedule.replica_devices(stage)) for stage, lasts in enumerate(durations_ns) if lasts}
    if groups and (cost.compute_slowdown > 1 or cost.reduce_slowdown > 1):
        return True
    return any(one & other for one, other in combinations(groups, 2))


def _launches(
    schedule: Schedule, arrays: Arrays, producer: Integers, sent: Integers, width: int
) -> dict[int, tuple[int, int]]:
    """When the last member launches each stage's all-reduce, and which of its launches that is for the first member."""
    found: dict[int, tuple[int, int]] = {}
    places = synchronise(schedule, _walk(arrays, producer), width).after
    for first, launches in zip(arrays.first.tolist(), places, strict=False):
        number = 0
        for place, actions in sorted(launches.items()):
            moment = int(sent[first + place]) if place >= 0 else 0
            for action in actions:
                before = found.get(action.stage, (0, number))
                found[action.stage] = max(before[0], moment), before[1]
                number += 1
    return found


def _reduced(schedule: Schedule, durations_ns: list[int], launches: dict[int, tuple[int, int]]) -> dict[int, int]:
    """When each stage's all-reduce is done: those of one group follow one another."""
    found: dict[int, int] = {}
    busy: dict[tuple[int, ...], int] = {}
    for stage, (moment, _) in sorted(launches.items(), key=lambda item: item[1][1]):
        group = schedule.replica_devices(stage)
        if durations_ns[stage]:
            moment = busy[group] = max(moment, busy.get(group, 0)) + durations_ns[stage]
        found[stage] = moment
    return found


def _walk(arrays: Arrays, producer: Integers) -> Walk:
    """What `chimera.pipeline.lowering.order.walk` says, which takes ten times as long."""
    work = _SLOTS[arrays.kind]
    moments = advance(arrays, producer, Costs.of_work(work))
    assert moments is not None, "the order was followed before"
    ends = moments.ends
    bounds = list(pairwise(arrays.first.tolist()))
    starts = ends - work
    return Walk([starts[a:b].tolist() for a, b in bounds], [ends[a:b].tolist() for a, b in bounds], {})
