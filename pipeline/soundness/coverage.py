"""Is all the work of a schedule done once and in order on each device, and grouped alike by neighbours?"""

from __future__ import annotations

__all__ = ["check_coverage", "check_grouping"]

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import ScheduleError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.soundness.faults import fault, places_of

_CODE, _CONFLICT, _COMPLETE = (1, 2, 4), (5, 6, 7), (3, 4)
"""Coverage of one (stage, micro-batch) as bits, indexed by half 0, 1, -1 (the whole): what an
action covers, what it must not find covered, and what covers everything."""
_BACKWARDS = (Kind.B, Kind.I, Kind.W)


def check_coverage(schedule: Schedule) -> None:
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


def check_grouping(schedule: Schedule) -> None:
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


def _repeated(schedule: Schedule, device: int, position: int, part: Action) -> ScheduleError:
    kinds = (Kind.F,) if part.kind is Kind.F else _BACKWARDS
    first = next(
        place
        for m in part.microbatches
        for place in places_of(schedule, part.stage, m, kinds)
        if place != (device, position)
    )
    return fault(
        schedule,
        device,
        position,
        f"repeats the work of {schedule.actions[first[0]][first[1]]} at position {first[1]}",
        "remove one of them",
    )


def _too_early(schedule: Schedule, device: int, position: int, part: Action, needed: Action) -> ScheduleError:
    later = places_of(schedule, needed.stage, needed.microbatch, (needed.kind,))
    where = f"stands at position {later[0][1]}" if later else "is nowhere"
    return fault(
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
    there = places_of(schedule, stage, microbatch, (Kind.F, *_BACKWARDS))
    if not there:
        return ScheduleError(
            f"device {device} never runs {wanted}",
            f"micro-batch {microbatch} does not pass stage {stage}",
            "add it, or lower the number of micro-batches",
            device=device,
            position=len(schedule.actions[device]) - 1 if schedule.actions[device] else None,
        )
    return fault(schedule, *there[-1], f"no complete {wanted} completes it", f"add it to device {device}")


def _mismatch(schedule: Schedule, stage: int, microbatch: int, kinds: tuple[Kind, ...], other: int) -> ScheduleError:
    device, position = places_of(schedule, stage, microbatch, kinds)[0]
    producer = places_of(schedule, other, microbatch, kinds)[0]
    return fault(
        schedule,
        device,
        position,
        f"groups otherwise than {schedule.actions[producer[0]][producer[1]]} on device {producer[0]}, "
        "whose result it takes",
        "group micro-batches and halves alike on all stages",
    )
