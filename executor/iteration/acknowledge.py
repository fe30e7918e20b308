"""Which of our sends must have been delivered once a given message has come back.

gloo does not tell when a send is complete without waiting for it, yet its buffer should go as soon
as it can. The plan knows: a message that the peer sends after it consumed ours proves delivery.
"""

from __future__ import annotations

__all__ = ["acknowledgements"]

from chimera.pipeline.actions import SENDS, Action, Kind
from chimera.pipeline.rules import message_for, messages_from, peer_of
from chimera.pipeline.schedule import Plan

_COMPUTE_OF = {Kind.SEND_F: Kind.F, Kind.SEND_B: Kind.B}


def acknowledgements(plan: Plan, device: int) -> dict[Action, tuple[Action, ...]]:
    """For each receive of `device`, the receives (at its peers) of own messages that it acknowledges."""
    found: dict[Action, tuple[Action, ...]] = {}
    row = [action for action in plan.actions[device] if isinstance(action, Action)]
    for peer in sorted({peer_of(action, plan.schedule) for action in row if action.kind in SENDS}):
        consumed: list[Action] = []
        for action in plan.actions[peer]:
            if action.is_compute:
                messages = [message_for(part, plan.schedule) for part in action.parts if part.kind is not Kind.W]
                consumed += [m.receive for m in messages if m is not None and m.source == device]
            elif action.kind in SENDS and consumed:
                assert isinstance(action, Action)
                message = messages_from(action._replace(kind=_COMPUTE_OF[action.kind]), plan.schedule)
                if message is not None and message.target == device:
                    found[message.receive] = tuple(consumed)
                    consumed = []
    return found
