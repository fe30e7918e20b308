"""What the runtime looks up in a plan before it runs."""

from __future__ import annotations

__all__ = ["halved", "message_of"]

from pipeline.actions import SENDS, Action, Kind
from pipeline.dependencies import Message, message_for, messages_from
from pipeline.schedule import Schedule


def halved(schedule: Schedule, device: int) -> frozenset[tuple[int, int]]:
    """The (stage, micro-batch) of a device whose backward comes in two halves."""
    return frozenset(
        (part.stage, part.microbatch) for action in schedule.actions[device] for part in action.parts if part.half >= 0
    )


def message_of(action: Action, schedule: Schedule) -> Message:
    """The message behind a SEND or RECV of a plan, whichever backward kind produced it."""
    forward = action.kind in (Kind.SEND_F, Kind.RECV_F)
    compute = action._replace(kind=Kind.F if forward else Kind.B)
    message = messages_from(compute, schedule) if action.kind in SENDS else message_for(compute, schedule)
    assert message is not None, f"{action} carries nothing"
    return message
