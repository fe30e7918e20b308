"""Durations drawn from the calibrated distribution, with a seed, alike for whatever schedules are alike in.

Every kind of thing that varies has a stream of random numbers of its own, made of the seed: the
iteration, the devices, forwards, backwards, weight gradients, optimizer steps, messages,
all-reduces. Within a stream, numbers belong to stages and micro-batches and not to places in a
schedule. So two schedules on as many devices meet the same slow devices in the same draw, and the
same action of the same micro-batch is slow in both: their times can be compared draw by draw.
"""

from __future__ import annotations

__all__ = ["as_rows", "draw", "drawn", "has_jitter", "varies_between_devices"]

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from enum import IntEnum

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from chimera.pipeline.actions import Action, Kind
from chimera.simulator.costs.profile import Jitter
from chimera.simulator.workload.workload import COMPUTE, STEP, Op, Workload

_BATCH = 64
_Factors = NDArray[np.float64]


class _Stream(IntEnum):
    """What varies; the number is part of the seed."""

    ITERATION = 0
    DEVICE = 1
    STRAGGLER = 2
    FORWARD = 3
    BACKWARD = 4
    WEIGHT = 5
    OPTIMIZER = 6
    MESSAGE = 7
    ALL_REDUCE = 8
    STALL = 9
    RUN = 10


_STREAM_OF = {Kind.F: _Stream.FORWARD, Kind.B: _Stream.BACKWARD, Kind.I: _Stream.BACKWARD, Kind.W: _Stream.WEIGHT}


def has_jitter(workload: Workload) -> bool:
    """Whether the profile says anything about how durations vary."""
    jitter = workload.profile.jitter
    spreads = [spread for costs in workload.durations.table(1.0) for spread in costs.jitter]
    common = (
        jitter.device_spread,
        jitter.iteration_spread,
        jitter.optimizer_spread,
        jitter.straggler_probability,
        jitter.stalls_per_s,
        jitter.run_spread,
    )
    return bool(jitter.action_quantiles) or any(common) or any(spreads) or varies_between_devices(workload)


def varies_between_devices(workload: Workload) -> bool:
    """Whether messages or all-reduces vary."""
    jitter = workload.profile.jitter
    return bool(jitter.message_spread or jitter.all_reduce_spread)


def draw(workload: Workload, samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Batches of drawn durations in nanoseconds, shape (batch, columns).

    The columns are the computations, devices in turn, then the optimizer steps likewise; where
    messages or all-reduces vary, then all messages and all all-reduces. A computation is multiplied
    by a factor of its own, from the profile's residual quantiles or a log-normal of its stage's
    spread; the others by log-normals. Computations and steps are also multiplied by the iteration's
    factor, their device's, and the stragglers' if it is one; computations that stall take longer by that
    much. The same seed gives the same draws.
    """
    jitter, streams = workload.profile.jitter, {stream: np.random.default_rng([seed, stream]) for stream in _Stream}
    actions, steps = _Columns(workload, COMPUTE), _Columns(workload, STEP)
    messages = _ranks(message.receive for message in workload.messages)
    reduces = _ranks(collective.action for collective in workload.collectives)
    far = [message.occupancy_ns for message in workload.messages], [c.duration_ns for c in workload.collectives]
    for begin in range(0, samples, _BATCH):
        count = min(_BATCH, samples - begin)
        devices = _devices(workload, streams, count)
        own = _action_factors(actions, jitter.action_quantiles, streams, count)
        stalls = _stalls_ns(actions, jitter, streams[_Stream.STALL], count)
        parts = [actions.work_ns * own * devices[:, actions.device] + stalls]
        own = _log_normal(streams[_Stream.OPTIMIZER], count, steps.ranks, jitter.optimizer_spread)
        parts.append(steps.work_ns * own * devices[:, steps.device])
        if varies_between_devices(workload):
            parts.append(
                np.array(far[0]) * _log_normal(streams[_Stream.MESSAGE], count, messages, jitter.message_spread)
            )
            parts.append(
                np.array(far[1]) * _log_normal(streams[_Stream.ALL_REDUCE], count, reduces, jitter.all_reduce_spread)
            )
        yield np.rint(np.concatenate(parts, axis=1)).astype(np.int64)


class _Columns:
    """The actions of one code, devices in turn: expected duration, device, spread, and place in the stream."""

    def __init__(self, workload: Workload, code: int) -> None:
        places = [(d, i) for d, ops in enumerate(workload.ops) for i, op in enumerate(ops) if op.code is code]
        ops = [workload.ops[d][i] for d, i in places]
        self.work_ns = np.array([workload.work_ns[d][i] for d, i in places], np.float64)
        self.device = np.array([d for d, _ in places], np.int64)
        self.spread = np.array([_spread(workload, op) if code is COMPUTE else 0.0 for op in ops])
        self.ranks = _ranks((op.action.parts[0] for op in ops), [d for d, _ in places])
        kinds = [_STREAM_OF.get(op.action.parts[0].kind, _Stream.OPTIMIZER) for op in ops]
        self.of_stream = {stream: np.flatnonzero(np.array(kinds) == stream) for stream in dict.fromkeys(kinds)}


def _devices(workload: Workload, streams: dict[_Stream, Generator], count: int) -> _Factors:
    """What multiplies the work of every device in every iteration, shape (count, devices)."""
    jitter, shape = workload.profile.jitter, (count, len(workload.ops))
    iterations = np.exp(streams[_Stream.ITERATION].normal(0.0, 1.0, (count, 1)) * jitter.iteration_spread)
    devices = np.exp(streams[_Stream.DEVICE].normal(0.0, 1.0, shape) * jitter.device_spread)
    slow = streams[_Stream.STRAGGLER].random(shape) < jitter.straggler_probability
    runs = np.exp(streams[_Stream.RUN].normal(0.0, 1.0, (count, 1)) * jitter.run_spread)
    factors: _Factors = runs * iterations * devices * np.where(slow, jitter.straggler_factor, 1.0)
    return factors


def _action_factors(
    actions: _Columns, quantiles: Sequence[float], streams: dict[_Stream, Generator], count: int
) -> _Factors:
    """Shape (count, computations). Of quantiles, the inverse of the empirical distribution, linear between them."""
    factors = np.empty((count, len(actions.work_ns)))
    grid = np.linspace(0.0, 1.0, len(quantiles)) if quantiles else None
    for stream, columns in actions.of_stream.items():
        places = columns[np.argsort(actions.ranks[columns])]
        if grid is not None:
            drawn = streams[stream].random((count, len(places)))
            factors[:, places] = 1.0 + np.interp(drawn, grid, sorted(quantiles))
        else:
            drawn = streams[stream].normal(0.0, 1.0, (count, len(places)))
            factors[:, places] = np.exp(drawn * actions.spread[places])
    return factors


def _stalls_ns(actions: _Columns, jitter: Jitter, generator: Generator, count: int) -> _Factors:
    """By how much stalls lengthen computations, shape (count, computations)."""
    drawn = generator.random((count, len(actions.ranks)))[:, actions.ranks]
    chance = -np.expm1(-jitter.stalls_per_s * actions.work_ns / 1e9)
    # The lower end of the uniform numbers stalls, and how far down they are says how long.
    share = np.minimum(1.0, (1.0 - drawn) / np.maximum(chance, np.finfo(float).tiny))
    found: _Factors = -jitter.stall_ns * np.log(share)
    return found


def _log_normal(generator: Generator, count: int, ranks: NDArray[np.int64], spread: float) -> _Factors:
    factors: _Factors = np.exp(generator.normal(0.0, 1.0, (count, len(ranks)))[:, ranks] * spread)
    return factors


def _ranks(actions: Iterable[Action], devices: Sequence[int] | None = None) -> NDArray[np.int64]:
    """Each action's place when they are ordered by what they are (then by device), wherever they stand."""
    keys = [(action.kind in (Kind.RECV_B, Kind.W), *action[:1], *action[2:]) for action in actions]
    order = sorted(range(len(keys)), key=lambda i: (keys[i], devices[i] if devices is not None else i))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def as_rows(workload: Workload, row: NDArray[np.int64]) -> list[list[int]]:
    """The computations and steps of one draw as `work_ns[device][position]`."""
    values = row.tolist()
    computations = sum(op.code is COMPUTE for ops in workload.ops for op in ops)
    blocks = {COMPUTE: iter(values[:computations]), STEP: iter(values[computations:])}
    return [[next(blocks[op.code]) if op.code in blocks else 0 for op in ops] for ops in workload.ops]


def drawn(workload: Workload, row: NDArray[np.int64]) -> Workload:
    """The workload with the durations of one draw, for the reference engine."""
    found = copy(workload)
    found.work_ns = as_rows(workload, row)
    if varies_between_devices(workload):
        messages, collectives = len(workload.messages), len(workload.collectives)
        far = row[len(row) - messages - collectives :].tolist()
        pairs = zip(workload.messages, far, strict=False)
        found.messages = [message._replace(occupancy_ns=duration) for message, duration in pairs]
        ours = zip(workload.collectives, far[messages:], strict=True)
        found.collectives = [collective._replace(duration_ns=duration) for collective, duration in ours]
    return found


def _spread(workload: Workload, op: Op) -> float:
    costs = [workload.durations.stage(part.stage).jitter for part in op.action.parts]
    return max(
        forward if part.kind is Kind.F else backward
        for part, (forward, backward) in zip(op.action.parts, costs, strict=True)
    )
