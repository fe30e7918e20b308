"""What an action needs before it can start: the one definition that every room uses."""

from __future__ import annotations

__all__ = ["Message", "inputs_of", "message_for", "messages_from", "peer_of", "results_of"]

from typing import NamedTuple

from pipeline.actions import Action, Kind
from pipeline.schedule import Schedule

_BACKWARDS = (Kind.B, Kind.I)


class Message(NamedTuple):
    """A tensor that crosses from one device to another: the sender's and the receiver's action."""

    send: Action
    receive: Action
    source: int
    target: int


def inputs_of(action: Action, stages: int) -> tuple[tuple[int, str, int, int], ...]:
    """The results a compute action consumes, as (stage, "F" | "B" | "I", micro-batch, half).

    "B" stands for the input gradient, whoever computes it (B or I); "I" for the own input
    backward that a W completes. A half of -1 means the whole micro-batch.
    """
    stage, kind = action.stage, action.kind
    if kind is Kind.F:
        return tuple((stage - 1, "F", m, -1) for m in action.microbatches) if stage else ()
    if kind is Kind.W:
        return ((stage, "I", action.microbatch, action.half),)
    own = (stage, "F", action.microbatch, -1)
    if stage == stages - 1:
        return (own,)
    return (own, (stage + 1, "B", action.microbatch, action.half))


def results_of(action: Action) -> tuple[tuple[int, str, int, int], ...]:
    """The results a compute action leaves, in the same terms as `inputs_of` (none for a W)."""
    stage, kind, microbatch, also, half = action
    if kind is Kind.F:
        first = (stage, "F", microbatch, -1)
        return (first,) if also < 0 else (first, (stage, "F", also, -1))
    if kind is Kind.B:
        return ((stage, "B", microbatch, half),)
    if kind is Kind.I:
        return ((stage, "B", microbatch, half), (stage, "I", microbatch, half))
    return ()


def message_for(action: Action, schedule: Schedule) -> Message | None:
    """The message a compute action consumes, or None if its input is local (or there is none)."""
    if action.kind is Kind.F and action.stage > 0:
        sender, kinds = action.stage - 1, (Kind.SEND_F, Kind.RECV_F)
    elif action.kind in _BACKWARDS and action.stage < schedule.stages - 1:
        sender, kinds = action.stage + 1, (Kind.SEND_B, Kind.RECV_B)
    else:
        return None
    return _message(action, sender, action.stage, kinds, schedule)


def messages_from(action: Action, schedule: Schedule) -> Message | None:
    """The message that carries the result of a compute action away, or None if it stays."""
    if action.kind is Kind.F and action.stage < schedule.stages - 1:
        receiver, kinds = action.stage + 1, (Kind.SEND_F, Kind.RECV_F)
    elif action.kind in _BACKWARDS and action.stage > 0:
        receiver, kinds = action.stage - 1, (Kind.SEND_B, Kind.RECV_B)
    else:
        return None
    return _message(action, action.stage, receiver, kinds, schedule)


def peer_of(action: Action, schedule: Schedule) -> int:
    """The device at the other end of a SEND or RECV; IndexError if there is no such stage."""
    towards = 1 if action.kind in (Kind.SEND_F, Kind.RECV_B) else -1
    stage = action.stage + towards
    if not 0 <= stage < schedule.stages:
        raise IndexError(f"{action} would cross the end of the pipeline")
    return schedule.device_of(stage, action.microbatch)


def _message(action: Action, sender: int, receiver: int, kinds: tuple[Kind, Kind], schedule: Schedule) -> Message | None:
    row = schedule.placement[schedule.replica_of[action.microbatch]]
    source, target = row[sender], row[receiver]
    if source == target:
        return None
    what = action[2:]
    return Message(Action(sender, kinds[0], *what), Action(receiver, kinds[1], *what), source, target)
