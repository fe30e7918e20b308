"""The peaks of very large schedules, recounted in numpy instead of event by event.

The rules are those of `chimera.simulator.memory.events`. What changes at one moment and in one direction is added
up before the peak is looked for, which changes no maximum: six changes an action are left, in the
order in which `chimera.simulator.memory.events` writes them down.
"""

from __future__ import annotations

__all__ = ["peak_bytes"]

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chimera.pipeline.actions import Action, Kind
from chimera.simulator.costs.durations import Durations
from chimera.simulator.engines.large.order import CODES, Arrays, Integers
from chimera.simulator.engines.large.run import LargeRun

_F, _B, _I, _W = (CODES[kind] for kind in (Kind.F, Kind.B, Kind.I, Kind.W))


def peak_bytes(durations: Durations, run: LargeRun) -> tuple[int, ...]:
    """The most bytes each device ever holds."""
    arrays, total = run.arrays, len(run.arrays.stage)
    crossing = arrays.device[run.producer] != arrays.device
    received, sent = np.zeros(total, np.int64), np.zeros(total, np.int64)
    received[crossing] = _message_bytes(durations, arrays)[crossing]
    sent[run.producer[crossing]] = received[crossing]
    before, after = _computing(durations, arrays)
    forward = arrays.kind == _F
    changes = np.stack(
        [
            _posted(arrays, run.producer, crossing, received),
            np.where(forward, -received, 0),
            before,
            -after - np.where(forward, 0, received),
            sent,
            -sent,
        ],
        axis=1,
    )
    clock = np.concatenate([[0], run.sent[:-1]])
    clock[arrays.first[:-1]] = 0
    times = np.stack([clock, run.starts, run.starts, run.ends, run.sent, run.arrived], axis=1)
    held = _from_the_start(durations)
    return tuple(
        begin + _highest(times[first:last].ravel(), changes[first:last].ravel())
        for begin, (first, last) in zip(held, pairwise(arrays.first.tolist()), strict=True)
    )


def _highest(times: Integers, changes: Integers) -> int:
    order = np.argsort(times, kind="stable")
    return max(int(np.cumsum(changes[order]).max()), 0)


def _message_bytes(durations: Durations, arrays: Arrays) -> Integers:
    """Of every action, how many bytes it would receive if its input came from elsewhere."""
    table = [
        [
            durations.message_bytes(Action(stage, Kind.RECV_F if kind == _F else Kind.RECV_B, 0))
            for kind in CODES.values()
        ]
        for stage in range(durations.schedule.stages)
    ]
    return np.array(table, np.int64)[arrays.stage, arrays.kind]


def _computing(durations: Durations, arrays: Arrays) -> tuple[Integers, Integers]:
    """What every action takes when it starts, and what it gives back when it ends; buffers apart."""
    schedule = durations.schedule
    taken, given = np.zeros((2, schedule.stages, len(CODES)), np.int64)
    for stage in range(schedule.stages):
        costs = durations.stage(stage)
        kept = costs.input_bytes if schedule.recomputes(stage) else costs.activation_bytes
        again = max(costs.activation_bytes - kept, 0)
        taken[stage, _F] = kept + costs.forward_workspace_bytes + again
        given[stage, _F] = costs.forward_workspace_bytes + again
        taken[stage, [_B, _I]] = costs.backward_workspace_bytes + again
        taken[stage, _W] = costs.backward_workspace_bytes
        given[stage, _B] = given[stage, _W] = costs.backward_workspace_bytes + again + kept
        given[stage, _I] = costs.backward_workspace_bytes
    before, after = taken[arrays.stage, arrays.kind], given[arrays.stage, arrays.kind]
    if not durations.profile.optimizer.gradients_persist:
        finishing = np.flatnonzero((arrays.kind == _B) | (arrays.kind == _W))
        places = arrays.device[finishing] * schedule.stages + arrays.stage[finishing]
        first = finishing[np.unique(places, return_index=True)[1]]
        gradients = np.array([durations.stage(stage).gradient_bytes for stage in range(schedule.stages)], np.int64)
        before[first] += gradients[arrays.stage[first]]
    return before, after


def _posted(arrays: Arrays, producer: Integers, crossing: NDArray[np.bool_], received: Integers) -> Integers:
    """Bytes of the receives that stand before each action, where `chimera.pipeline.lowering.lower.lower` puts them.

    One action before the consumer's, or earlier where that keeps a pair's receives in the order of sending.
    """
    found = np.zeros(len(producer), np.int64)
    consumers = np.flatnonzero(crossing)
    if not len(consumers):
        return found
    begin = arrays.first[arrays.device[consumers]]
    wanted = np.maximum(consumers - 1, begin)
    pair = arrays.device[producer[consumers]] * len(arrays.first) + arrays.device[consumers]
    order = np.lexsort((producer[consumers], pair))
    bounds = [0, *(np.flatnonzero(np.diff(pair[order])) + 1).tolist(), len(order)]
    for first, last in pairwise(bounds):
        those = order[first:last]
        places = np.minimum.accumulate(wanted[those][::-1])[::-1]
        np.add.at(found, places, received[consumers[those]])
    return found


def _from_the_start(durations: Durations) -> list[int]:
    """What each device holds throughout."""
    profile, schedule = durations.profile, durations.schedule
    held = []
    for device in range(schedule.devices):
        stages = [durations.stage(stage) for _, stage in schedule.held_by(device)]
        gradients = profile.optimizer.gradients_persist
        each = [c.parameter_bytes + c.optimizer_bytes + (c.gradient_bytes if gradients else 0) for c in stages]
        held.append(profile.framework_bytes + sum(each))
    return held
