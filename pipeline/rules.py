"""What an action needs before it can start: the one definition that every room uses."""

from __future__ import annotations

__all__ = ["Message", "Result", "flow_of", "message_for", "messages_from", "peer_of"]

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.schedule import Schedule

# Looking a member up in its class costs several times as much as a module's name.
_F, _B, _I, _W = Kind.F, Kind.B, Kind.I, Kind.W
_FORWARD, _BACKWARD = (Kind.SEND_F, Kind.RECV_F), (Kind.SEND_B, Kind.RECV_B)
# Half the time of Action(...) and Message(...), which are made for every action that sends.
_action: Callable[[tuple[Any, ...]], Action] = partial(tuple.__new__, Action)


class Message(NamedTuple):
    """A tensor that crosses from one device to another: the sender's and the receiver's action."""

    send: Action
    receive: Action
    source: int
    target: int


_crossing: Callable[[tuple[Any, ...]], Message] = partial(tuple.__new__, Message)


Result = tuple[int, str, int, int]
"""What a computation leaves, as (stage, "F" | "B" | "I", micro-batch, half); a half of -1 means the whole micro-batch.

"B" stands for the input gradient, whoever computes it (B or I); "I" for the own input backward
that a W completes.
"""


def flow_of(action: Action, stages: int) -> tuple[tuple[Result, ...], tuple[Result, ...]]:
    """The results that a compute action consumes, and those that it leaves (none for a W)."""
    stage, kind, microbatch, also, half = action
    own = (stage, "F", microbatch, -1)
    if kind is _F:
        if also < 0:
            return ((stage - 1, "F", microbatch, -1),) if stage else (), (own,)
        before = ((stage - 1, "F", microbatch, -1), (stage - 1, "F", also, -1)) if stage else ()
        return before, (own, (stage, "F", also, -1))
    if kind is _W:
        return ((stage, "I", microbatch, half),), ()
    gradient = (stage, "B", microbatch, half)
    return (
        (own,) if stage == stages - 1 else (own, (stage + 1, "B", microbatch, half)),
        (gradient,) if kind is _B else (gradient, (stage, "I", microbatch, half)),
    )


def message_for(action: Action, schedule: Schedule) -> Message | None:
    """The message a compute action consumes, or None if its input is local (or there is none)."""
    stage, kind = action[:2]
    if kind is _F and stage > 0:
        return _message(action, stage - 1, stage, _FORWARD, schedule)
    if (kind is _B or kind is _I) and stage < schedule.stages - 1:
        return _message(action, stage + 1, stage, _BACKWARD, schedule)
    return None


def messages_from(action: Action, schedule: Schedule) -> Message | None:
    """The message that carries the result of a compute action away, or None if it stays."""
    stage, kind = action[:2]
    if kind is _F and stage < schedule.stages - 1:
        return _message(action, stage, stage + 1, _FORWARD, schedule)
    if (kind is _B or kind is _I) and stage > 0:
        return _message(action, stage, stage - 1, _BACKWARD, schedule)
    return None


def peer_of(action: Action, schedule: Schedule) -> int:
    """The device at the other end of a SEND or RECV; IndexError if there is no such stage."""
    towards = 1 if action.kind in (Kind.SEND_F, Kind.RECV_B) else -1
    stage = action.stage + towards
    if not 0 <= stage < schedule.stages:
        raise IndexError(f"{action} would cross the end of the pipeline")
    return schedule.device_of(stage, action.microbatch)


def _message(
    action: Action, sender: int, receiver: int, kinds: tuple[Kind, Kind], schedule: Schedule
) -> Message | None:
    _, _, microbatch, also, half = action
    row = schedule.placement[schedule.replica_of[microbatch]]
    source, target = row[sender], row[receiver]
    if source == target:
        return None
    send, receive = kinds
    return _crossing(
        (
            _action((sender, send, microbatch, also, half)),
            _action((receiver, receive, microbatch, also, half)),
            source,
            target,
        )
    )
