"""What both worlds must agree on, said once: needs, messages, batches, split backwards, contexts."""

from __future__ import annotations

__all__ = [
    "RECEIVED_AS",
    "SENT_AS",
    "Context",
    "Message",
    "Result",
    "batch_end",
    "channel_of",
    "context_of",
    "flow_of",
    "message_for",
    "messages_from",
    "peer_of",
    "receive_of",
    "split_backwards",
]

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from chimera.pipeline.actions import Action, Kind, Step
from chimera.pipeline.schedule import Schedule

# Looking a member up in its class costs several times as much as a module's name.
_F, _B, _I, _W = Kind.F, Kind.B, Kind.I, Kind.W
_FORWARD, _BACKWARD = (Kind.SEND_F, Kind.RECV_F), (Kind.SEND_B, Kind.RECV_B)
SENT_AS = {Kind.F: Kind.SEND_F, Kind.B: Kind.SEND_B, Kind.I: Kind.SEND_B}
"""What carries the result of a computation away."""
RECEIVED_AS = {Kind.SEND_F: (Kind.RECV_F, 1), Kind.SEND_B: (Kind.RECV_B, -1)}
"""The receive of a send, and where its stage lies from the sender's."""
Context = Literal["fresh", "after-backward", "own-forward", "after-another"]
"""What a computation comes behind on its device: see `context_of`."""
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


def receive_of(send: Action) -> Action:
    """The receive, on the device at the other end, of what a SEND sends."""
    kind, towards = RECEIVED_AS[send.kind]
    return _action((send.stage + towards, kind, *send[2:]))


def channel_of(step: Step, schedule: Schedule) -> tuple[int, int]:
    """(peer, replica) of a SEND or RECV: messages with one of them share a communicator, two replicas never do."""
    assert isinstance(step, Action)
    return peer_of(step, schedule), schedule.replica_of[step.microbatch]


def batch_end(position: int, length: int, channel_at: Callable[[int], object | None]) -> int:
    """Where the batch that begins with the message at `position` of a row ends: before the first that is not its.

    A batch is a maximal run of adjacent SENDs and RECVs of one channel; `channel_at(place)` is that of
    the message at `place` (see `channel_of`), None where something else stands.
    """
    channel, end = channel_at(position), position + 1
    while end < length and channel_at(end) == channel:
        end += 1
    return end


def split_backwards(schedule: Schedule) -> frozenset[tuple[int, int, int]]:
    """The (stage, micro-batch, half) whose backward comes as I and W; DualPipe has whole ones beside them."""
    parts = (part for row in schedule.actions for action in row for part in action.parts)
    return frozenset((part.stage, part.microbatch, part.half) for part in parts if part.kind is _W)


def context_of(action: Step, previous: Step | None) -> Context:
    """What `action` comes behind, `previous` being what its device computed just before (None: nothing yet).

    What counts of a pair that is overlapped is its backward, which ends it. `after-backward`: a forward behind a
    backward that let its activations go (B or W, not I). `own-forward`: a backward, or half of one, behind the
    forward whose activations it uses, be that over two micro-batches. `after-another`: a weight gradient behind
    neither its own input gradient nor another weight gradient. All else is `fresh`, and so is an overlapped pair.
    """
    if previous is None or not isinstance(action, Action):
        return "fresh"
    last = previous.parts[-1]
    own = action.stage == last.stage and action.microbatch in last.microbatches
    if action.kind is _F:
        return "after-backward" if last.kind in (_B, _W) else "fresh"
    if action.kind is _W:
        return "fresh" if last.kind is _W or (own and action.half == last.half) else "after-another"
    return "own-forward" if last.kind is _F and own else "fresh"


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
