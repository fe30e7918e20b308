"""Lowering: from what devices compute to a plan with every message, all-reduce and step explicit."""

from __future__ import annotations

__all__ = ["Receives", "lower"]

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from chimera.pipeline.actions import Action, Kind, Step
from chimera.pipeline.errors import DeadlockError, InputError, ScheduleError
from chimera.pipeline.lowering.order import Walk, walk
from chimera.pipeline.lowering.synchronisation import synchronise
from chimera.pipeline.rules import messages_from
from chimera.pipeline.schedule import Plan, Schedule

Receives = Literal["early", "late"]
"""When a receive is posted: right before its consumer, or one compute action before that."""

# Looking a member up in its class costs several times as much as a module's name.
_F, _B, _I = Kind.F, Kind.B, Kind.I
# Half the time of Action(...), of which there are two a message.
_action: Callable[[tuple[Any, ...]], Action] = partial(tuple.__new__, Action)
_Slots = list[dict[int, list[Action]]]
"""Per device, the actions that stand before (or after) a compute position."""


def lower(schedule: Schedule, *, receives: Receives = "early", width: int = 1) -> Plan:
    """The plan of a sound schedule, for `width` data-parallel copies of the pipeline.

    A device's row is, for each compute action: the receives posted before it, the action, the
    sends of its results, the all-reduces launched there. Messages of one ordered pair of devices
    are received in the order they are sent (NCCL ignores tags): where consumers want another
    order, the receive is posted earlier. Optimizer steps stand at the end, stages ascending, or
    for update="pipedream" behind every backward. `order` goes slot by slot.

    Raises ScheduleError for a schedule that `chimera.pipeline.soundness.check.check` would refuse because devices
    wait for one another or a message finds no consumer. About 1.5 us an emitted action.
    """
    if receives not in ("early", "late"):
        raise InputError(f"receives={receives!r}", "is not a way to post receives", "use 'early' or 'late'")
    timing = walk(schedule.actions, schedule.stages)
    if timing.missing:
        _refuse_stuck(schedule, timing)
    sends, posts = _messages(schedule, receives)
    launches, last = synchronise(schedule, timing, width)
    rows, keys, opening = [], [], []
    for device, computed in enumerate(schedule.actions):
        row: list[Step] = list(launches[device].get(-1, ()))
        opening += [device] * len(row)
        keys += _fill(row, computed, (posts[device], sends[device], launches[device]), timing, device)
        rows.append((*row, *last[device]))
    closing = [device for device, steps in enumerate(last) for _ in steps]
    return Plan(schedule, tuple(rows), (*opening, *_in_issue_order(keys, schedule.devices), *closing))


def _fill(
    row: list[Step],
    computed: Sequence[Step],
    around: tuple[dict[int, list[Action]], dict[int, list[Action]], dict[int, list[Action]]],
    timing: Walk,
    device: int,
) -> list[int]:
    """Appends to a device's row its computations with what stands around each; the sort keys of the issue order.

    A receive is issued with the compute action it stands before, when that starts; a send or an
    all-reduce when the one it stands behind ends. In a slot, what ended comes before what starts,
    and of the messages the highest device's first: torch's parity rule (see `chimera.pipeline.lowering.repair`).
    """
    before, after, launched = around
    devices, nothing = len(timing.starts), ()
    started, ended = devices + device, devices - 1 - device
    keys: list[int] = []
    for position, (action, start, end) in enumerate(
        zip(computed, timing.starts[device], timing.ends[device], strict=True)
    ):
        posted = before.get(position, nothing)
        keys += [2 * devices * start + started] * (1 + len(posted))
        row += posted
        row.append(action)
        length = len(row)
        row += after.get(position, nothing)
        row += launched.get(position, nothing)
        keys += [2 * devices * end + ended] * (len(row) - length)
    return keys


def _in_issue_order(keys: list[int], devices: int) -> list[int]:
    """The device of each key, by slot."""
    device_of = [*reversed(range(devices)), *range(devices)]
    return [device_of[key % (2 * devices)] for key in sorted(keys)]


def _messages(schedule: Schedule, receives: Receives) -> tuple[_Slots, _Slots]:
    """Per device: the sends after, and the receives posted before, each compute position."""
    places: list[dict[tuple[object, ...], int]] = [
        {part: position for position, action in enumerate(row) for part in action.parts} for row in schedule.actions
    ]
    sends: _Slots = [defaultdict(list) for _ in schedule.actions]
    pairs: dict[tuple[int, int], list[tuple[int, Action]]] = defaultdict(list)
    routes: dict[tuple[int, int, Kind], _Route | None] = {}
    early, replica_of = 1 if receives == "early" else 0, schedule.replica_of
    for device, row in enumerate(schedule.actions):
        sent = sends[device]
        for position, action in enumerate(row):
            for part in action.parts:
                stage, kind, microbatch, also, half = part
                key = (replica_of[microbatch], stage, kind)
                if key not in routes:
                    routes[key] = _route(part, schedule)
                route = routes[key]
                if route is None:
                    continue
                send, sender, receive, receiver, taken_by, target = route
                sent[position].append(_action((sender, send, microbatch, also, half)))
                needed = places[target].get((receiver, taken_by, microbatch, also, half))
                if needed is None and taken_by is _B:
                    needed = places[target].get((receiver, _I, microbatch, also, half))
                received = _action((receiver, receive, microbatch, also, half))
                if needed is None:
                    raise _unconsumed(part, received, device, position, target)
                pairs[target, device].append((needed - early if needed else 0, received))
    return sends, _posts(pairs, schedule.devices)


class _Route(NamedTuple):
    """What all messages of one kind between two stages of a replica have in common."""

    send: Kind
    sender: int
    receive: Kind
    receiver: int
    taken_by: Kind
    """the computation that consumes it: F, or B (if there is none, I)"""
    target: int


def _route(part: Action, schedule: Schedule) -> _Route | None:
    """The way of what a computation sends; None if that stays on its device."""
    message = messages_from(part, schedule)
    if message is None:
        return None
    send, receive, _, target = message
    return _Route(send.kind, send.stage, receive.kind, receive.stage, _F if part.kind is _F else _B, target)


def _posts(pairs: dict[tuple[int, int], list[tuple[int, Action]]], devices: int) -> _Slots:
    """Receives by the compute position they stand before: sources ascending, then in sending order."""
    posts: _Slots = [defaultdict(list) for _ in range(devices)]
    for (target, _), messages in sorted(pairs.items()):
        places = [wanted for wanted, _ in messages]
        for number in range(len(places) - 1, 0, -1):
            if places[number] < places[number - 1]:
                places[number - 1] = places[number]
        row = posts[target]
        for place, (_, receive) in zip(places, messages, strict=True):
            row[place].append(receive)
    return posts


def _refuse_stuck(schedule: Schedule, timing: Walk) -> None:
    device, (stage, what, microbatch, _half) = min(timing.missing.items())
    position = len(timing.starts[device])
    raise DeadlockError(
        f"device {device}, position {position}: {schedule.actions[device][position]}",
        f"waits for ever for {stage}{what}{microbatch}",
        "pipeline.soundness.check.check names the circle",
        device=device,
        position=position,
    )


def _unconsumed(part: Action, receive: Action, device: int, position: int, target: int) -> ScheduleError:
    return ScheduleError(
        f"device {device}, position {position}: {part} is sent to device {target}",
        f"where no action takes {receive} in the same grouping",
        "let the neighbouring stages group micro-batches and halves alike",
        device=device,
        position=position,
    )
