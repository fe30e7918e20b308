"""Do the numbers of a schedule agree: sizes, ranges, and every action on the device of its stage?"""

from __future__ import annotations

__all__ = ["check_numbers", "check_shape"]

from typing import get_args

from chimera.pipeline.actions import Kind, Overlap
from chimera.pipeline.errors import ScheduleError
from chimera.pipeline.schedule import Schedule, Sync, Update
from chimera.pipeline.soundness.faults import fault

_COMPUTED = frozenset((Kind.F, Kind.B, Kind.I, Kind.W))


def check_shape(schedule: Schedule) -> None:
    """Sizes of placement, replica_of and actions, and values of sync and update."""
    stages, devices = schedule.stages, schedule.devices
    if min(stages, devices, schedule.microbatches) < 1:
        raise ScheduleError(
            f"{stages} stages, {devices} devices, {schedule.microbatches} micro-batches", "each must be at least 1"
        )
    if not schedule.placement:
        raise ScheduleError("placement is empty", "no device holds a stage", "give one row of devices per replica")
    for replica, row in enumerate(schedule.placement):
        if len(row) != stages or not all(0 <= device < devices for device in row):
            raise ScheduleError(
                f"placement of replica {replica} is {list(row)}",
                f"needs {stages} devices (one a stage) numbered 0..{devices - 1}",
            )
    if len(schedule.replica_of) != schedule.microbatches:
        raise ScheduleError(
            f"replica_of has {len(schedule.replica_of)} entries",
            f"needs one for each of {schedule.microbatches} micro-batches",
        )
    if not all(0 <= replica < schedule.replicas for replica in schedule.replica_of):
        raise ScheduleError(f"replica_of is {list(schedule.replica_of)}", f"replicas are 0..{schedule.replicas - 1}")
    if len(schedule.actions) != devices:
        raise ScheduleError(f"{len(schedule.actions)} rows of actions", f"needs one for each of {devices} devices")
    for name, value, valid in (("sync", schedule.sync, get_args(Sync)), ("update", schedule.update, get_args(Update))):
        if value not in valid:
            raise ScheduleError(f"{name}={value!r}", "is not known", f"use one of {', '.join(valid)}")
    if schedule.update == "pipedream" and schedule.replicas > 1:
        raise ScheduleError(
            f"update='pipedream' with {schedule.replicas} replicas",
            "a micro-batch has a gradient in one replica only, so the replicas would drift apart",
            "use one replica, or update='flush'",
        )


def check_numbers(schedule: Schedule) -> None:
    """Every action computes, has numbers in range, and stands on the device that holds its stage."""
    stages, microbatches = schedule.stages, schedule.microbatches
    homes = [schedule.placement[replica] for replica in schedule.replica_of]
    for device, row in enumerate(schedule.actions):
        for position, action in enumerate(row):
            if isinstance(action, Overlap):
                _check_overlap(schedule, device, position, action)
            for stage, kind, microbatch, also, half in action.parts:
                if kind not in _COMPUTED:
                    raise fault(
                        schedule, device, position, "is not a computation", "leave it to pipeline.lowering.lower.lower"
                    )
                if not (0 <= stage < stages and 0 <= microbatch < microbatches):
                    raise fault(schedule, device, position, _out_of_range(schedule, stage))
                if homes[microbatch][stage] != device:
                    home = homes[microbatch][stage]
                    raise fault(
                        schedule,
                        device,
                        position,
                        f"stage {stage} of micro-batch {microbatch} is placed on device {home}",
                        f"move it to device {home} or change the placement",
                    )
                if kind is Kind.F:
                    if half >= 0 or (also >= 0 and _bad_pair(schedule, microbatch, also)):
                        raise fault(
                            schedule, device, position, "a forward covers one micro-batch, or two of the same replica"
                        )
                elif also >= 0 or not -1 <= half <= 1:
                    raise fault(schedule, device, position, "a backward covers one micro-batch or half 0 or 1 of it")


def _check_overlap(schedule: Schedule, device: int, position: int, action: Overlap) -> None:
    forward, backward = action
    if forward.kind is not Kind.F or backward.kind not in (Kind.B, Kind.I):
        raise fault(schedule, device, position, "must overlap a forward with a backward (B or I)")
    if backward.microbatch in forward.microbatches:
        raise fault(
            schedule, device, position, "its backward needs its own forward first", "overlap different micro-batches"
        )


def _bad_pair(schedule: Schedule, microbatch: int, also: int) -> bool:
    replica_of = schedule.replica_of
    return also >= len(replica_of) or also == microbatch or replica_of[also] != replica_of[microbatch]


def _out_of_range(schedule: Schedule, stage: int) -> str:
    if not 0 <= stage < schedule.stages:
        return f"stages are 0..{schedule.stages - 1}"
    return f"micro-batches are 0..{schedule.microbatches - 1}"
