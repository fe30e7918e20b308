"""How fast the same work could be at all."""

from __future__ import annotations

__all__ = ["lower_bound_ns"]

from math import floor

from pipeline.actions import Action, Kind
from simulator.durations import Durations, share_of
from simulator.workload import COMPUTE, Workload


def lower_bound_ns(workload: Workload) -> int:
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
    """
    durations = workload.durations
    total = sum(
        _least_ns(durations, part)
        for ops in workload.ops
        for op in ops
        if op.code is COMPUTE
        for part in op.action.parts
    )
    devices = workload.plan.schedule.devices
    overlap = min(durations.profile.overheads.overlap_factor, 1.0)
    bound = max(-(-total // devices), _chain_ns(durations))
    return bound if overlap == 1.0 else floor(overlap * bound)


def _least_ns(durations: Durations, part: Action) -> int:
    """Duration of one piece of work, a backward's split into I and W or not, whichever is less.

    A split backward's I and W count together with the I, so the W itself counts nothing.
    """
    if part.kind is Kind.F:
        return durations.compute_ns(part)
    if part.kind is Kind.W:
        return 0
    whole, first, second = (durations.compute_ns(part._replace(kind=kind)) for kind in (Kind.B, Kind.I, Kind.W))
    return min(whole, first + second)


def _chain_ns(durations: Durations) -> int:
    """The longest dependency chain of one micro-batch, or of half of one where the schedule halves."""
    schedule = durations.schedule
    parts = [part for row in schedule.actions for action in row for part in action.parts]
    half = 0 if any(share_of(part) == 0.5 for part in parts) else -1
    forward = sum(durations.compute_ns(Action(stage, Kind.F, 0)) for stage in range(schedule.stages))
    longest = inputs = 0
    for stage in reversed(range(schedule.stages)):
        whole, first, second = (
            durations.compute_ns(Action(stage, kind, 0, half=half)) for kind in (Kind.B, Kind.I, Kind.W)
        )
        first = min(first, whole)
        inputs += first
        longest = max(longest, inputs + min(second, whole - first))
    return forward + longest
