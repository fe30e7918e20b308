"""How fast the same work could be at all."""

from __future__ import annotations

__all__ = ["bound_ns", "lower_bound_ns"]

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from math import floor

from chimera.pipeline.actions import Action, Kind
from chimera.simulator.costs.durations import Durations
from chimera.simulator.workload.workload import Workload

_Piece = tuple[int, Kind, bool, bool]
"""stage, kind, and whether it is doubled or halved"""
_Alone = Callable[[int, Kind, bool, bool], int]
"""nanoseconds of such a piece by itself"""


def lower_bound_ns(workload: Workload, slow_devices: Mapping[int, float] | None = None) -> int:
    """A time that no schedule of the same work on as many devices can beat, wherever stages live.

    The larger of two bounds on the time from the first computation's start to the last one's end.

    *Balance*: the devices together must do all the work, so one of them does at least the average.

    *Chain*: a micro-batch runs forward through all stages one after another (each forward needs the
    one before), then backward from the last to the first; the input gradient of stage s follows
    that of stage s+1, and the weight gradient of s follows its input gradient. So nothing ends
    before sum(F) + max over s of (sum of I over stages >= s, + W of s).

    The same work means the same micro-batches, grouped alike (doubled, halved) and recomputed
    alike. Another schedule may split a backward into I and W or not, and overlap pairs where the
    profile makes that cheaper: each piece counts at the cheapest of these, so the bound holds for
    every family. Messages and dispatch are free: all stages might share a device.

    Slow devices do the less of the work the slower they are, and the chain runs on a fastest one.
    """
    structure, pieces = workload.structure, Counter[_Piece]()
    for number, count in Counter(chain.from_iterable(structure.alike)).items():
        example = structure.kinds[number]
        if example is not None and example.is_compute:
            for part in example.parts:
                pieces[part.stage, part.kind, part.also >= 0, part.half >= 0] += count
    slow, devices = slow_devices or {}, workload.plan.schedule.devices
    return bound_ns(workload.durations, pieces, [slow.get(device, 1.0) for device in range(devices)])


def bound_ns(durations: Durations, pieces: Counter[_Piece], factors: Sequence[float]) -> int:
    """The same for counted work: (stage, kind, doubled, halved) of every part of an action; how slow each device is."""

    @cache
    def _alone(stage: int, kind: Kind, doubled: bool, halved: bool) -> int:
        return durations.compute_ns(Action(stage, kind, 0, 1 if doubled else -1, 0 if halved else -1))

    total = sum(count * _least_ns(_alone, piece) for piece, count in pieces.items())
    overlap = min(durations.profile.overheads.overlap_factor, 1.0) * durations.profile.locality.least
    halved = any(halved for *_, halved in pieces)
    chain_ns = _chain_ns(_alone, durations.schedule.stages, halved=halved)
    bound = (
        max(-(-total // len(factors)), chain_ns)
        if max(factors) == 1
        else _slowed(total, chain_ns, pieces.total(), factors)
    )
    return bound if overlap == 1.0 else floor(overlap * bound)


def _slowed(total: int, chain_ns: int, count: int, factors: Sequence[float]) -> int:
    """Both bounds for devices that are slower by factors, less a nanosecond a piece for rounding each duration."""
    balance = (total - count) / sum(1 / factor for factor in factors)
    return max(floor(max(balance, min(factors) * chain_ns - count)), 0)


def _least_ns(alone: _Alone, piece: _Piece) -> int:
    """Duration of one piece of work, a backward's split into I and W or not, whichever is less.

    A split backward's I and W count together with the I, so the W itself counts nothing.
    """
    stage, kind, doubled, halved = piece
    if kind is Kind.F:
        return alone(stage, kind, doubled, halved)
    if kind is Kind.W:
        return 0
    whole, first, second = (alone(stage, kind, doubled, halved) for kind in (Kind.B, Kind.I, Kind.W))
    return min(whole, first + second)


def _chain_ns(alone: _Alone, stages: int, *, halved: bool) -> int:
    """The longest dependency chain of one micro-batch, or of half of one where the schedule halves."""
    forward = sum(alone(stage, Kind.F, False, False) for stage in range(stages))
    longest = inputs = 0
    for stage in reversed(range(stages)):
        whole, first, second = (alone(stage, kind, False, halved) for kind in (Kind.B, Kind.I, Kind.W))
        first = min(first, whole)
        inputs += first
        longest = max(longest, inputs + min(second, whole - first))
    return forward + longest
