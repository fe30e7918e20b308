"""Is a schedule sound? Every micro-batch forward and backward once, in the right place and order."""

from __future__ import annotations

__all__ = ["check", "check_plan"]

from typing import get_args

from pipeline.actions import Action, Kind, Overlap
from pipeline.cycles import circle, describe
from pipeline.deadlock import check_plan
from pipeline.errors import DeadlockError, ScheduleError
from pipeline.order import walk
from pipeline.schedule import Schedule, Sync, Update

_CODE, _CONFLICT, _COMPLETE = (1, 2, 4), (5, 6, 7), (3, 4)
"""Coverage of one (stage, micro-batch) as bits, indexed by half 0, 1, -1 (the whole): what an
action covers, what it must not find covered, and what covers everything."""
_BACKWARDS = (Kind.B, Kind.I, Kind.W)
_SCHEDULED = frozenset((Kind.F, *_BACKWARDS))


def check(schedule: Schedule) -> None:
    """Raises ScheduleError unless the schedule is sound; names device, position, action and reason.

    Sound: shapes and numbers agree; every (stage, micro-batch) has one forward and one backward
    (B, or I and W, whole or in both halves) on the device its placement says; a backward follows
    its forward and a W its I on that device; neighbouring stages group micro-batches and halves
    alike; and no devices wait for one another in a circle (DeadlockError, a ScheduleError).
    `error.device` and `error.position` can be drawn by `pipeline.grid.text_grid(mark=...)`.
    """
    _check_shape(schedule)
    _check_numbers(schedule)
    _check_order_on_devices(schedule)
    _check_grouping(schedule)
    _check_circles(schedule)


def _check_shape(schedule: Schedule) -> None:
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


def _check_numbers(schedule: Schedule) -> None:
    """Every action computes, has numbers in range, and stands on the device that holds its stage."""
    stages, microbatches = schedule.stages, schedule.microbatches
    homes = [schedule.placement[replica] for replica in schedule.replica_of]
    for device, row in enumerate(schedule.actions):
        for position, action in enumerate(row):
            if isinstance(action, Overlap):
                _check_overlap(schedule, device, position, action)
            for stage, kind, microbatch, also, half in action.parts:
                if kind not in _SCHEDULED:
                    raise _fault(
                        schedule, device, position, "is not a computation", "leave it to pipeline.lowering.lower"
                    )
                if not (0 <= stage < stages and 0 <= microbatch < microbatches):
                    raise _fault(schedule, device, position, _out_of_range(schedule, stage))
                if homes[microbatch][stage] != device:
                    home = homes[microbatch][stage]
                    raise _fault(
                        schedule,
                        device,
                        position,
                        f"stage {stage} of micro-batch {microbatch} is placed on device {home}",
                        f"move it to device {home} or change the placement",
                    )
                if kind is Kind.F:
                    if half >= 0 or (also >= 0 and _bad_pair(schedule, microbatch, also)):
                        raise _fault(
                            schedule, device, position, "a forward covers one micro-batch, or two of the same replica"
                        )
                elif also >= 0 or not -1 <= half <= 1:
                    raise _fault(schedule, device, position, "a backward covers one micro-batch or half 0 or 1 of it")


def _check_overlap(schedule: Schedule, device: int, position: int, action: Overlap) -> None:
    forward, backward = action
    if forward.kind is not Kind.F or backward.kind not in (Kind.B, Kind.I):
        raise _fault(schedule, device, position, "must overlap a forward with a backward (B or I)")
    if backward.microbatch in forward.microbatches:
        raise _fault(
            schedule, device, position, "its backward needs its own forward first", "overlap different micro-batches"
        )


def _bad_pair(schedule: Schedule, microbatch: int, also: int) -> bool:
    replica_of = schedule.replica_of
    return also >= len(replica_of) or also == microbatch or replica_of[also] != replica_of[microbatch]


def _out_of_range(schedule: Schedule, stage: int) -> str:
    if not 0 <= stage < schedule.stages:
        return f"stages are 0..{schedule.stages - 1}"
    return f"micro-batches are 0..{schedule.microbatches - 1}"


def _check_order_on_devices(schedule: Schedule) -> None:
    """Once each, backward after its forward, W after its I; then nothing may be missing."""
    width = schedule.microbatches
    forwards, inputs, weights, splits = (bytearray(schedule.stages * width) for _ in range(4))
    for device, row in enumerate(schedule.actions):
        for position, action in enumerate(row):
            for part in action.parts:
                stage, kind, microbatch, also, half = part
                index, code, conflict = stage * width + microbatch, _CODE[half], _CONFLICT[half]
                if kind is Kind.F:
                    for covered in (index,) if also < 0 else (index, stage * width + also):
                        if forwards[covered]:
                            raise _repeated(schedule, device, position, part)
                        forwards[covered] = 4
                    continue
                if not forwards[index]:
                    raise _too_early(schedule, device, position, part, Action(stage, Kind.F, microbatch))
                if kind is Kind.W:
                    if not splits[index] & code and not weights[index] & conflict:
                        raise _too_early(schedule, device, position, part, part._replace(kind=Kind.I))
                else:
                    if inputs[index] & conflict:
                        raise _repeated(schedule, device, position, part)
                    inputs[index] |= code
                    if kind is Kind.I:
                        splits[index] |= code
                        continue
                if weights[index] & conflict:
                    raise _repeated(schedule, device, position, part)
                weights[index] |= code
    for kinds, done in (((Kind.F,), forwards), ((Kind.B, Kind.I), inputs), ((Kind.B, Kind.W), weights)):
        if sum(map(done.count, _COMPLETE)) != len(done):
            index = next(index for index, code in enumerate(done) if code not in _COMPLETE)
            raise _incomplete(schedule, *divmod(index, width), kinds)


def _check_grouping(schedule: Schedule) -> None:
    """Both ends of a message cover the same micro-batches, or the same halves."""
    forwards: dict[tuple[int, int], tuple[int, ...]] = {}
    halves: dict[tuple[int, int], tuple[int, ...]] = {}
    for row in schedule.actions:
        for action in row:
            for stage, kind, microbatch, also, half in action.parts:
                if also >= 0:
                    forwards[stage, microbatch] = (microbatch, also)
                    forwards[stage, also] = (microbatch, also)
                if half >= 0 and kind is not Kind.W:
                    halves[stage, microbatch] = (0, 1)
    for groups, towards, kinds in ((forwards, 1, (Kind.F,)), (halves, -1, (Kind.B, Kind.I))):
        for (stage, microbatch), group in groups.items():
            neighbour = stage + towards
            if 0 <= neighbour < schedule.stages and groups.get((neighbour, microbatch)) != group:
                raise _mismatch(schedule, neighbour, microbatch, kinds, stage)
            neighbour = stage - towards
            if 0 <= neighbour < schedule.stages and groups.get((neighbour, microbatch)) != group:
                raise _mismatch(schedule, stage, microbatch, kinds, neighbour)


def _check_circles(schedule: Schedule) -> None:
    """No devices wait for one another."""
    timing = walk(schedule.actions, schedule.stages)
    if not timing.missing:
        return
    positions = [len(starts) for starts in timing.starts]
    waits = {
        device: schedule.device_of(stage, microbatch)
        for device, (stage, _what, microbatch, _half) in timing.missing.items()
    }
    found = circle(waits)
    device = found[0]
    what = {
        device: f"the {'forward' if what == 'F' else 'backward'} of stage {stage}, micro-batch {microbatch}"
        for device, (stage, what, microbatch, _half) in timing.missing.items()
    }
    raise DeadlockError(
        f"device {device}, position {positions[device]}: {schedule.actions[device][positions[device]]}",
        describe(found, positions, schedule.actions, what),
        "reorder one of these devices so that every action comes after what it needs",
        device=device,
        position=positions[device],
        cycle=tuple((device, waits[device]) for device in found),
    )


def _fault(schedule: Schedule, device: int, position: int, derived: str, remedy: str = "") -> ScheduleError:
    given = f"device {device}, position {position}: {schedule.actions[device][position]}"
    return ScheduleError(given, derived, remedy, device=device, position=position)


def _places_of(schedule: Schedule, stage: int, microbatch: int, kinds: tuple[Kind, ...]) -> list[tuple[int, int]]:
    """Where (device, position) the given kinds of action on (stage, micro-batch) stand."""
    return [
        (device, position)
        for device, row in enumerate(schedule.actions)
        for position, action in enumerate(row)
        for part in action.parts
        if part.stage == stage and part.kind in kinds and microbatch in part.microbatches
    ]


def _repeated(schedule: Schedule, device: int, position: int, part: Action) -> ScheduleError:
    kinds = (Kind.F,) if part.kind is Kind.F else _BACKWARDS
    first = next(
        place
        for m in part.microbatches
        for place in _places_of(schedule, part.stage, m, kinds)
        if place != (device, position)
    )
    return _fault(
        schedule,
        device,
        position,
        f"repeats the work of {schedule.actions[first[0]][first[1]]} at position {first[1]}",
        "remove one of them",
    )


def _too_early(schedule: Schedule, device: int, position: int, part: Action, needed: Action) -> ScheduleError:
    later = _places_of(schedule, needed.stage, needed.microbatch, (needed.kind,))
    where = f"stands at position {later[0][1]}" if later else "is nowhere"
    return _fault(
        schedule,
        device,
        position,
        f"{part} waits for {needed}, which {where}",
        f"put {needed} before it on device {device}",
    )


def _incomplete(schedule: Schedule, stage: int, microbatch: int, kinds: tuple[Kind, ...]) -> ScheduleError:
    """Points at what is there of the micro-batch on this stage, or at the device's last action."""
    device = schedule.device_of(stage, microbatch)
    wanted = " or ".join(f"{stage}{kind.value}{microbatch}" for kind in kinds)
    there = _places_of(schedule, stage, microbatch, (Kind.F, *_BACKWARDS))
    if not there:
        return ScheduleError(
            f"device {device} never runs {wanted}",
            f"micro-batch {microbatch} does not pass stage {stage}",
            "add it, or lower the number of micro-batches",
            device=device,
            position=len(schedule.actions[device]) - 1 if schedule.actions[device] else None,
        )
    return _fault(schedule, *there[-1], f"no complete {wanted} completes it", f"add it to device {device}")


def _mismatch(schedule: Schedule, stage: int, microbatch: int, kinds: tuple[Kind, ...], other: int) -> ScheduleError:
    device, position = _places_of(schedule, stage, microbatch, kinds)[0]
    producer = _places_of(schedule, other, microbatch, kinds)[0]
    return _fault(
        schedule,
        device,
        position,
        f"groups otherwise than {schedule.actions[producer[0]][producer[1]]} on device {producer[0]}, whose result it takes",
        "group micro-batches and halves alike on all stages",
    )
