"""Make a plan safe for transports that make a send wait for its receive."""

from __future__ import annotations

__all__ = ["rendezvous_safe"]

from chimera.pipeline.actions import RECEIVES, SENDS, Action, Step
from chimera.pipeline.rules import peer_of, receive_of
from chimera.pipeline.schedule import Plan
from chimera.pipeline.soundness.deadlock import check_waits


def rendezvous_safe(plan: Plan) -> Plan:
    """The same plan with every receive moved to where the global order issues its send.

    Then all devices see all messages in one total order, so the first message that is not yet
    served can always be served: no circle under rendezvous or batched either. Of messages sent in
    the same slot the order issues the higher rank's first, which is torch's parity rule (towards a
    higher rank RECV before SEND, towards a lower one SEND before RECV). That rule alone looks at
    one peer at a time and does not save a ring of three devices.

    So every sound schedule can be made safe. An unsound one, whose devices wait for one another even
    when sends never wait, cannot: DeadlockError with the circle.
    """
    schedule = plan.schedule
    check_waits(plan, "buffered")
    rows: list[list[Step]] = [[] for _ in plan.actions]
    order: list[int] = []
    position = [0] * len(rows)
    for device in plan.order:
        action = plan.actions[device][position[device]]
        position[device] += 1
        if action.kind in RECEIVES:
            continue
        rows[device].append(action)
        order.append(device)
        if action.kind in SENDS:
            assert isinstance(action, Action)
            target = peer_of(action, schedule)
            rows[target].append(receive_of(action))
            order.append(target)
    return Plan(schedule, tuple(map(tuple, rows)), tuple(order))
