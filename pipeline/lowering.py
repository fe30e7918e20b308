"""Lowering: from what devices compute to a plan with every message, all-reduce and step explicit."""

from __future__ import annotations

__all__ = ["Receives", "lower"]

from collections import defaultdict, deque
from typing import Literal

from pipeline.actions import RECEIVES, Action, Kind, Step
from pipeline.dependencies import messages_from
from pipeline.errors import DeadlockError, InputError, ScheduleError
from pipeline.order import Walk, walk
from pipeline.schedule import Plan, Schedule
from pipeline.synchronisation import synchronise

Receives = Literal["early", "late"]
"""When a receive is posted: right before its consumer, or one compute action before that."""

_RECEIVE_OF = {Kind.F: Kind.RECV_F, Kind.B: Kind.RECV_B, Kind.I: Kind.RECV_B}
_Slots = list[dict[int, list[Action]]]
"""Per device, the actions that stand before (or after) a compute position."""


def lower(schedule: Schedule, *, receives: Receives = "early", width: int = 1) -> Plan:
    """The plan of a sound schedule, for `width` data-parallel copies of the pipeline.

    A device's row is, for each compute action: the receives posted before it, the action, the
    sends of its results, the all-reduces launched there. Messages of one ordered pair of devices
    are received in the order they are sent (NCCL ignores tags): where consumers want another
    order, the receive is posted earlier. Optimizer steps stand at the end, stages ascending, or
    for update="pipedream" behind every backward. `order` goes slot by slot.

    Raises ScheduleError for a schedule that `pipeline.checks.check` would refuse because devices
    wait for one another or a message finds no consumer. About 3 us an emitted action.
    """
    if receives not in ("early", "late"):
        raise InputError(f"receives={receives!r}", "is not a way to post receives", "use 'early' or 'late'")
    timing = walk(schedule.actions, schedule.stages)
    if timing.missing:
        _refuse_stuck(schedule, timing)
    sends, posts = _messages(schedule, receives)
    launches, last = synchronise(schedule, timing, width)
    rows = []
    for device, computed in enumerate(schedule.actions):
        before, after, launched = posts[device], sends[device], launches[device]
        row: list[Step] = list(launched.get(-1, ()))
        for position, action in enumerate(computed):
            row += before.get(position, ())
            row.append(action)
            row += after.get(position, ())
            row += launched.get(position, ())
        row += last[device]
        rows.append(tuple(row))
    return Plan(schedule, tuple(rows), tuple(_issue_order(timing, rows, last)))


def _messages(schedule: Schedule, receives: Receives) -> tuple[_Slots, _Slots]:
    """Per device: the sends after, and the receives posted before, each compute position."""
    consumers: list[dict[tuple[object, ...], int]] = [
        {
            (part.stage, _RECEIVE_OF[part.kind], *part[2:]): position
            for position, action in enumerate(row)
            for part in action.parts
            if part.kind is not Kind.W
        }
        for row in schedule.actions
    ]
    sends: _Slots = [defaultdict(list) for _ in schedule.actions]
    pairs: dict[tuple[int, int], list[tuple[int, Action]]] = defaultdict(list)
    early = 1 if receives == "early" else 0
    for device, row in enumerate(schedule.actions):
        for position, action in enumerate(row):
            for part in action.parts:
                message = messages_from(part, schedule)
                if message is None:
                    continue
                sends[device][position].append(message.send)
                needed = consumers[message.target].get(message.receive)
                if needed is None:
                    raise _unconsumed(part, message.receive, device, position, message.target)
                pairs[message.target, device].append((max(needed - early, 0), message.receive))
    return sends, _posts(pairs, schedule.devices)


def _posts(pairs: dict[tuple[int, int], list[tuple[int, Action]]], devices: int) -> _Slots:
    """Receives by the compute position they stand before: sources ascending, then in sending order."""
    posts: _Slots = [defaultdict(list) for _ in range(devices)]
    for (target, _), messages in sorted(pairs.items()):
        latest = messages[-1][0]
        places = []
        for wanted, _receive in reversed(messages):
            latest = min(latest, wanted)
            places.append(latest)
        for place, (_wanted, receive) in zip(reversed(places), messages, strict=True):
            posts[target][place].append(receive)
    return posts


def _issue_order(timing: Walk, rows: list[tuple[Step, ...]], last: list[list[Action]]) -> list[int]:
    """The device of each issued action, slot by slot; the closing steps at the very end.

    A receive is issued with the compute action it stands before, when that starts; a send or an
    all-reduce when the one it stands behind ends. In a slot, what ended comes before what starts,
    and of the messages the highest device's first: torch's parity rule (see `pipeline.soundness.repair`).
    """
    devices = len(rows)
    keys: list[int] = []
    lengths: list[deque[int]] = []
    for device, row in enumerate(rows):
        starts, ends = timing.starts[device], timing.ends[device]
        keys += [(2 * slot + 1) * devices + device for slot in starts]
        keys += [(2 * slot + 1) * devices - 1 - device for slot in ends]
        lengths.append(_lengths(row[: len(row) - len(last[device])]))
    order: list[int] = []
    for device in range(devices):
        order += [device] * lengths[device].popleft()
    for key in sorted(keys):
        double, rest = divmod(key, devices)
        device = rest if double % 2 else devices - 1 - rest
        order += [device] * lengths[device].popleft()
    for device, steps in enumerate(last):
        order += [device] * len(steps)
    return order


def _lengths(row: tuple[Step, ...]) -> deque[int]:
    """How many actions precede everything, then in turn: receives and compute action, what stands behind it."""
    lengths = [0]
    behind = True
    for action in row:
        if behind and (action.kind in RECEIVES or action.is_compute):
            lengths.append(0)
            behind = False
        lengths[-1] += 1
        if action.is_compute:
            lengths.append(0)
            behind = True
    return deque(lengths)


def _refuse_stuck(schedule: Schedule, timing: Walk) -> None:
    device, (stage, what, microbatch, _half) = min(timing.missing.items())
    position = len(timing.starts[device])
    raise DeadlockError(
        f"device {device}, position {position}: {schedule.actions[device][position]}",
        f"waits for ever for {stage}{what}{microbatch}",
        "pipeline.checks.check names the circle",
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
