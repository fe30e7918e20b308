"""Does a plan run to its end? Replays it, without time, under what a transport guarantees.

Buffered: neither SEND nor RECV waits, a consumer waits for its data; as gloo with small payloads.
Rendezvous: each waits at its place until the peer stands at the counterpart; as NCCL's ungrouped send
and recv, and large payloads. Batched: the same, but a maximal run of adjacent SENDs and RECVs of a
device with one peer and of one replica is one group; as `batch_isend_irecv` per peer and communicator.

The members of a group are posted together. A member is served as soon as its counterpart is posted
too, in whatever group that stands; the device goes on when all members of its group are served.
Messages of one ordered pair of devices are matched first in, first out, under every semantics.
All-reduces start without waiting and STEP waits for its stage's; under rendezvous and batched a
device serves its all-reduces in the order it launched them, as NCCL communicators on one GPU must.
"""

from __future__ import annotations

__all__ = ["Semantics", "check_plan", "check_waits"]

from typing import get_args

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import DeadlockError, InputError, ScheduleError
from chimera.pipeline.rules import message_for
from chimera.pipeline.schedule import Plan
from chimera.pipeline.soundness.cycles import circle, describe
from chimera.pipeline.soundness.replay import Replay, Semantics


def check_plan(plan: Plan, semantics: Semantics = "buffered") -> None:
    """Raises DeadlockError if the plan cannot run to its end; the error shows who waits for whom.

    Raises ScheduleError if a message is sent before it is computed, is received as another one, has
    no counterpart, or is consumed before its receive is posted, if the compute actions are not the
    schedule's, if weights change before their gradients are complete and all-reduced, and if the
    global order issues an action before what it waits for. About 5 us an action.
    """
    if semantics not in get_args(Semantics):
        raise InputError(f"semantics={semantics!r}", "is not known", f"use one of {', '.join(get_args(Semantics))}")
    for device, (row, computed) in enumerate(zip(plan.actions, plan.schedule.actions, strict=True)):
        if tuple(action for action in row if action.is_compute) != tuple(computed):
            raise ScheduleError(f"device {device}", "computes other actions than its schedule", device=device)
    _check_updates(plan)
    check_waits(plan, semantics)
    Replay(plan.schedule, plan.actions, "buffered").follow(plan.order)


def _check_updates(plan: Plan) -> None:
    """Gradients are complete when they are all-reduced, and all-reduced when weights change.

    With update="pipedream" every micro-batch has its own all-reduce and step, so nothing is checked.
    """
    schedule = plan.schedule
    if schedule.update == "pipedream":
        return
    for device, row in enumerate(plan.actions):
        closed: dict[int, Kind] = {}
        for position, action in enumerate(row):
            given = f"device {device}, position {position}: {action}"
            if isinstance(action, Action) and action.kind in (Kind.REDUCE_GRAD, Kind.STEP):
                stage, before = action.stage, closed.get(action.stage)
                shared = 0 <= stage < schedule.stages and len(schedule.replica_devices(stage)) > 1
                if stage not in schedule.stages_on(device):
                    raise ScheduleError(
                        given, "is about a stage the device does not hold", device=device, position=position
                    )
                if before in (action.kind, Kind.STEP):
                    raise ScheduleError(
                        given, f"follows {stage}{before}", "do it once", device=device, position=position
                    )
                if action.kind is Kind.STEP and shared and before is None:
                    raise ScheduleError(
                        given,
                        "changes weights before their gradients are all-reduced over the replicas",
                        f"put {stage}REDUCE_GRAD before it",
                        device=device,
                        position=position,
                    )
                closed[stage] = action.kind
            elif action.is_compute and not closed.keys().isdisjoint(part.stage for part in action.parts):
                stage = next(part.stage for part in action.parts if part.stage in closed)
                raise ScheduleError(given, f"follows {stage}{closed[stage]}", device=device, position=position)


def check_waits(plan: Plan, semantics: Semantics) -> Replay:
    """Replays the rows of a plan to their end and returns that replay; raises as `check_plan` does."""
    replay = Replay(plan.schedule, plan.actions, semantics)
    replay.run()
    if replay.waiting:
        raise _stuck(replay)
    return replay


def _stuck(replay: Replay) -> ScheduleError:
    """The circle of waiting devices, or the device that waits for something nobody does."""
    waits: dict[int, int] = {}
    what: dict[int, str] = {}
    for device in replay.waiting:
        waits[device], what[device] = _waits_for(replay, device)
    for device, target in waits.items():
        if target not in waits:
            return replay.fault(
                device, replay.position[device], f"waits for {what[device]} on device {target}, which has ended"
            )
    waiting = circle(waits)
    position = replay.position[waiting[0]]
    return DeadlockError(
        f"device {waiting[0]}, position {position}: {replay.rows[waiting[0]][position]}",
        describe(waiting, replay.position, replay.rows, what),
        "`chimera schedule FILE --format csv` writes its computation alone, "
        "to which messages are added in a safe order",
        device=waiting[0],
        position=position,
        cycle=tuple((device, waits[device]) for device in waiting),
    )


def _waits_for(replay: Replay, device: int) -> tuple[int, str]:
    """The device that a stuck one waits for, and what it should do."""
    position = replay.position[device]
    action = replay.rows[device][position]
    if position < replay.group_end[device]:
        return _unserved_member(replay, device)
    if action.kind is Kind.STEP:
        assert isinstance(action, Action)
        return _late_member(replay, device, action.stage)
    for part in action.parts:
        message = message_for(part, replay.schedule)
        if message is not None and message.receive not in replay.arrived:
            return message.source, str(message.send)
    raise AssertionError(f"device {device} is stuck at {action} without a reason")


def _unserved_member(replay: Replay, device: int) -> tuple[int, str]:
    """The first member of the posted group that found no counterpart."""
    for (source, target), sends in replay.sends.items():
        for posted in sends:
            if source == device:
                return target, str(posted.receive)
    for (source, target), receives in replay.receives.items():
        for posted in receives:
            if target == device:
                return source, f"the send for {posted.receive}"
    raise AssertionError(f"device {device} waits for a group that is served")


def _late_member(replay: Replay, device: int, stage: int) -> tuple[int, str]:
    """Follows the head of the launch queues to a device that has not launched it."""
    wanted = stage
    if replay.blocking and replay.launches[device]:
        wanted = replay.launches[device][0]
    for member in replay.groups[wanted]:
        queue = replay.launches[member]
        behind = (
            not queue or queue[0] != wanted
            if replay.blocking
            else replay.launched[wanted][member] <= replay.reduced[wanted]
        )
        if member != device and behind:
            return member, f"the all-reduce of stage {wanted}"
    raise AssertionError(f"device {device} waits for an all-reduce that is complete")
