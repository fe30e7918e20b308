"""A schedule as arrays: every action of all devices, what it waits for, and all devices advanced together."""

from __future__ import annotations

__all__ = ["CODES", "Arrays", "Costs", "Integers", "Moments", "advance", "arrays_of", "producers"]

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimera.pipeline.actions import Kind
from chimera.pipeline.schedule import Schedule

Integers = NDArray[np.int64]
CODES = {Kind.F: 0, Kind.B: 1, Kind.I: 2, Kind.W: 3}
_F, _B, _I, _W = range(4)


@dataclass(frozen=True, slots=True)
class Arrays:
    """Every action of every device in turn, and where each device's begin."""

    stage: Integers
    kind: Integers
    microbatch: Integers
    device: Integers
    first: Integers


@dataclass(frozen=True, slots=True)
class Costs:
    """Nanoseconds of every action, and of the message that it sends, if any; `receive` is that of the one it takes.

    `link` numbers the directed link, 0 for results that stay; messages that are not `queued` find
    it free at all times. A device sends at most one message an action.
    """

    work: Integers
    dispatch: int
    send: Integers
    receive: Integers
    occupancy: Integers
    queued: NDArray[np.bool_]
    link: Integers

    @classmethod
    def of_work(cls, work: Integers) -> Costs:
        """Messages are free."""
        nothing = np.zeros_like(work)
        return cls(work, 0, nothing, nothing, nothing, nothing > 0, nothing)


class Moments(NamedTuple):
    """Of every action: its end, when its result is sent (the same if it stays), and when that has arrived."""

    ends: Integers
    sent: Integers
    arrived: Integers


def arrays_of(schedule: Schedule) -> Arrays | None:
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
        for column, values in zip(columns, (stages, [CODES[kind] for kind in kinds], microbatches), strict=True):
            column.append(values)
    lengths = [len(row) for row in schedule.actions]
    stage, kind, microbatch = (np.fromiter(chain.from_iterable(column), np.int64) for column in columns)
    device = np.repeat(np.arange(schedule.devices), lengths)
    return Arrays(stage, kind, microbatch, device, np.concatenate([[0], np.cumsum(lengths)]))


def producers(schedule: Schedule, arrays: Arrays) -> Integers | None:
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


def advance(arrays: Arrays, producer: Integers, costs: Costs) -> Moments | None:
    """Every round, each device whose next action has all it needs takes it; None if no device can go on."""
    total = len(costs.work)
    found = Moments(*(np.full(total, -1, np.int64) for _ in range(3)))
    alone = producer == np.arange(total)
    position, last = arrays.first[:-1].copy(), arrays.first[1:]
    clock = np.zeros(len(last), np.int64)
    free = np.zeros(int(costs.link.max()) + 1, np.int64)
    live = np.arange(len(last))
    while len(live):
        at = position[live]
        source = found.arrived[producer[at]]
        source[alone[at]] = 0
        ready = source >= 0
        moved = live
        if not ready.all():
            if not ready.any():
                return None
            at, source, moved = at[ready], source[ready], live[ready]
        end = np.maximum(clock[moved], source) + costs.receive[at] + costs.dispatch + costs.work[at]
        sent = end + costs.send[at]
        link = costs.link[at]
        arrived = np.maximum(sent, free[link]) + costs.occupancy[at]
        queued = costs.queued[at]
        free[link[queued]] = arrived[queued]
        found.ends[at], found.sent[at], found.arrived[at] = end, sent, arrived
        clock[moved] = sent
        position[moved] += 1
        if (at + 1 == last[moved]).any():
            live = live[position[live] < last[live]]
    return found
