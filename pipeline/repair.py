"""Make a plan safe for transports that make a send wait for its receive."""

from __future__ import annotations

__all__ = ["rendezvous_safe"]

from pipeline.actions import RECEIVES, SENDS, Action, Kind, Step
from pipeline.deadlock import check_waits
from pipeline.dependencies import message_for, peer_of
from pipeline.errors import DeadlockError
from pipeline.schedule import Plan, Schedule

_Rows = list[list[Step]]
_RECEIVED_AS = {Kind.SEND_F: (Kind.RECV_F, 1), Kind.SEND_B: (Kind.RECV_B, -1)}


def rendezvous_safe(plan: Plan) -> Plan:
    """The same plan with its receives moved so that it cannot deadlock under rendezvous or batched.

    First torch's parity rule: receives as late as their consumers allow, except that towards a
    higher rank RECV stands before SEND (towards a lower one SEND before RECV). That rule looks at
    one peer at a time, so a ring of three devices can still wait in a circle; then every receive
    is put where the global order sends its message: all devices see the messages in one order, so
    the first unserved one can always be served.

    Every sound schedule can be made safe in this way. An unsound one (its devices wait for one
    another even when sends never wait) cannot, and raises DeadlockError with the circle.
    """
    schedule = plan.schedule
    check_waits(plan, "buffered")
    matched = _receive_when_sent(plan)
    deferred = _defer(matched, schedule)
    for rows in (deferred, matched):
        candidate = Plan(schedule, tuple(map(tuple, rows)), ())
        try:
            check_waits(candidate, "rendezvous")
        except DeadlockError:
            continue
        return Plan(schedule, candidate.actions, tuple(check_waits(candidate, "buffered").order))
    raise AssertionError("messages in one global order cannot deadlock")


def _receive_when_sent(plan: Plan) -> _Rows:
    """Every receive at the moment the global order issues its send."""
    rows: _Rows = [[] for _ in plan.actions]
    position = [0] * len(rows)
    for device in plan.order:
        action = plan.actions[device][position[device]]
        position[device] += 1
        if action.kind in RECEIVES:
            continue
        rows[device].append(action)
        if action.kind in SENDS:
            assert isinstance(action, Action)
            kind, towards = _RECEIVED_AS[action.kind]
            rows[peer_of(action, plan.schedule)].append(Action(action.stage + towards, kind, *action[2:]))
    return rows


def _defer(rows: _Rows, schedule: Schedule) -> _Rows:
    """Each receive right before its consumer, or before a send to a higher-ranked source.

    Unlike torch's `_defer_recv_ops`, receives of one source keep their order.
    """
    result: _Rows = []
    for device, row in enumerate(rows):
        placed: list[Step] = []
        waiting: dict[int, list[Action]] = {}
        for action in row:
            if action.kind in RECEIVES:
                assert isinstance(action, Action)
                waiting.setdefault(peer_of(action, schedule), []).append(action)
                continue
            if action.kind in SENDS:
                assert isinstance(action, Action)
                peer = peer_of(action, schedule)
                if peer > device:
                    placed += waiting.pop(peer, [])
            elif action.is_compute:
                for part in action.parts:
                    message = message_for(part, schedule)
                    if message and message.receive in (queue := waiting.get(message.source, [])):
                        count = queue.index(message.receive) + 1
                        placed += queue[:count]
                        del queue[:count]
            placed.append(action)
        result.append(placed)
    return result
