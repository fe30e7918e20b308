"""How fast the same work could be at all."""

from __future__ import annotations

__all__ = ["lower_bound_ns"]

from pipeline.actions import Kind
from simulator.durations import Durations
from simulator.workload import COMPUTE, Workload


def lower_bound_ns(workload: Workload) -> int:
    """A time that no schedule of the same work on as many devices can beat, wherever stages live.

    The larger of two bounds on the time from the first computation's start to the last one's end.

    *Balance*: the devices together must do all the work, so one of them does at least the average.

    *Chain*: a micro-batch runs forward through all stages one after another (each forward needs the
    one before), then backward from the last to the first; the input gradient of stage s follows
    that of stage s+1, and the weight gradient of s follows its input gradient. So nothing ends
    before sum(F) + max over s of (sum of I over stages >= s, + W of s). Splitting a backward into
    I and W is allowed even where this schedule does not, and halves of a micro-batch count as
    halves, so the bound holds for every family. Messages are free: all stages might share a device.
    """
    total = sum(
        work
        for ops, row in zip(workload.ops, workload.work_ns, strict=True)
        for op, work in zip(ops, row, strict=True)
        if op.code is COMPUTE
    )
    devices = workload.plan.schedule.devices
    return max(-(-total // devices), _chain_ns(workload))


def _chain_ns(workload: Workload) -> int:
    """The longest dependency chain of one micro-batch, at the profile's expected durations."""
    durations, schedule = workload.durations, workload.plan.schedule
    halved = any(part.half >= 0 for row in schedule.actions for action in row for part in action.parts)
    share = 0.5 if halved else 1.0
    overheads = durations.profile.overheads
    if overheads.overlap_factor < 1 and any(a.kind is Kind.OVERLAP for row in schedule.actions for a in row):
        return 0  # an overlapped pair's parts have no durations of their own
    forward = sum(max(durations.stage(s).forward_ns + overheads.forward_overhead_ns, 0) for s in range(schedule.stages))
    return forward + _backward_chain_ns(durations, schedule.stages, share)


def _backward_chain_ns(durations: Durations, stages: int, share: float) -> int:
    overheads, recompute = durations.profile.overheads, durations.schedule.recompute
    longest = inputs = 0
    for stage in reversed(range(stages)):
        costs = durations.stage(stage, share)
        again = costs.forward_ns if recompute else 0
        inputs += max(min(costs.backward_input_ns, costs.backward_ns) + again + overheads.backward_overhead_ns, 0)
        weights = min(costs.backward_weight_ns, max(costs.backward_ns - costs.backward_input_ns, 0))
        longest = max(longest, inputs + weights)
    return longest
