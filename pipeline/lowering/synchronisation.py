"""Where gradients are all-reduced and weights updated: the part of lowering that no message needs."""

from __future__ import annotations

__all__ = ["Synchronisation", "synchronise"]

from collections import defaultdict
from typing import NamedTuple

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import ScheduleError
from chimera.pipeline.lowering.order import Walk
from chimera.pipeline.schedule import Schedule

_FINISHES_WEIGHTS = (Kind.B, Kind.W)


class Synchronisation(NamedTuple):
    """REDUCE_GRAD and STEP actions per device: after a compute position, and at the very end."""

    after: list[dict[int, list[Action]]]
    last: list[list[Action]]


def synchronise(schedule: Schedule, timing: Walk, width: int) -> Synchronisation:
    """Places the all-reduces as `schedule.sync` says and the optimizer steps as `schedule.update` says.

    A stage is all-reduced if `width` copies of the pipeline or several devices hold it; a device
    that holds it in several replicas takes part once. Every device launches its all-reduces in one
    total order of the stages (by the slot in which the last member is ready, then the stage), so
    that groups which share devices cannot wait for one another. Source: Chimera paper, section 3.2.
    """
    if schedule.update == "pipedream":
        return _after_every_backward(schedule, width)
    held = [schedule.stages_on(device) for device in range(schedule.devices)]
    last_backward = _last_backwards(schedule, held)
    reduced = {stage for stage in range(schedule.stages) if width * len(schedule.replica_devices(stage)) > 1}
    places = _launch_places(schedule, timing, last_backward, held)
    ranked = _total_order(timing, places)
    after: list[dict[int, list[Action]]] = []
    for device, stages in enumerate(held):
        launches: dict[int, list[Action]] = defaultdict(list)
        place = -1
        for stage in sorted(reduced.intersection(stages), key=ranked.__getitem__):
            place = max(place, places[device, stage])
            launches[place].append(Action(stage, Kind.REDUCE_GRAD))
        after.append(dict(launches))
    return Synchronisation(after, [[Action(stage, Kind.STEP) for stage in stages] for stages in held])


def _last_backwards(schedule: Schedule, held: list[tuple[int, ...]]) -> dict[tuple[int, int], int]:
    """The position of the last weight-gradient action of (device, stage)."""
    last: dict[tuple[int, int], int] = {}
    for device, (row, stages) in enumerate(zip(schedule.actions, held, strict=True)):
        sought = set(stages)
        for position in reversed(range(len(row))):
            if not sought:
                break
            for part in row[position].parts:
                if part.stage in sought and part.kind in _FINISHES_WEIGHTS:
                    sought.remove(part.stage)
                    last[device, part.stage] = position
    return last


def _launch_places(
    schedule: Schedule, timing: Walk, last_backward: dict[tuple[int, int], int], held: list[tuple[int, ...]]
) -> dict[tuple[int, int], int]:
    """After which compute position (device, stage) may launch its all-reduce, other stages aside."""
    places = {}
    for device, stages in enumerate(held):
        end = len(schedule.actions[device]) - 1
        for stage in stages:
            done = last_backward.get((device, stage), end)
            eager = schedule.sync == "eager" or (schedule.sync == "eager-opt" and _has_bubble(timing, device, done))
            places[device, stage] = done if eager else end
    return places


def _has_bubble(timing: Walk, device: int, position: int) -> bool:
    """Whether the device idles between the end of an action and the end of its local compute."""
    starts, ends = timing.starts[device], timing.ends[device]
    return any(starts[later] > ends[later - 1] for later in range(position + 1, len(starts)))


def _total_order(timing: Walk, places: dict[tuple[int, int], int]) -> dict[int, tuple[int, int]]:
    """Sort keys of the stages: the slot in which the last member may launch, then the stage."""
    keys: dict[int, tuple[int, int]] = {}
    for (device, stage), place in places.items():
        slot = timing.ends[device][place] if place >= 0 else 0
        keys[stage] = max(keys.get(stage, (0, stage)), (slot, stage))
    return keys


def _after_every_backward(schedule: Schedule, width: int) -> Synchronisation:
    """PipeDream: one optimizer step a micro-batch and stage, right after its backward is complete."""
    if schedule.replicas > 1:
        raise ScheduleError(
            f"schedule {schedule.name!r} updates after every micro-batch but has {schedule.replicas} replicas",
            "a micro-batch has a gradient in one replica only, so the replicas would drift apart",
            "use one replica, or update='flush'",
        )
    after: list[dict[int, list[Action]]] = []
    for row in schedule.actions:
        updates: dict[int, list[Action]] = defaultdict(list)
        halves: set[tuple[int, int]] = set()
        for position, action in enumerate(row):
            for part in action.parts:
                key = (part.stage, part.microbatch)
                if part.kind not in _FINISHES_WEIGHTS:
                    continue
                if part.half >= 0 and key not in halves:
                    halves.add(key)
                    continue
                if width > 1:
                    updates[position].append(Action(part.stage, Kind.REDUCE_GRAD))
                updates[position].append(Action(part.stage, Kind.STEP))
        after.append(dict(updates))
    return Synchronisation(after, [[] for _ in schedule.actions])
