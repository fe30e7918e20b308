"""The critical path: the chain of actions, messages and all-reduces that makes an iteration as long as it is.

Walked from the iteration's end back to its start. Whatever began at a moment did so because of the
last thing it waited for: its device's previous action, a message, the message before on the link,
the last member to launch an all-reduce. Where two are ready at the same moment, the device's own
order counts as the reason. The pieces touch one another and cover the iteration exactly.
"""

from __future__ import annotations

__all__ = ["Piece", "PieceKind", "clock_after", "critical_path"]

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pipeline.errors import InputError
from simulator.times import Times
from simulator.workload import COMPUTE, RECEIVE, REDUCE, SEND, STEP, Workload

_DEVICE = "its device"
PieceKind = Literal["compute", "dispatch", "send", "message", "receive", "all-reduce", "optimizer", "framework"]


class Piece(NamedTuple):
    """A stretch of the critical path, nanoseconds from the iteration's start.

    `send` and `receive` are host time for a message, `message` its time on the link. `device` is
    who works (the sender of a message; an all-reduce's last member). `waited_for` says what had to
    end for this piece to begin; it is empty for the first.
    """

    kind: PieceKind
    device: int
    subject: str
    start_ns: int
    end_ns: int
    waited_for: str


def critical_path(workload: Workload, times: Times) -> tuple[Piece, ...]:
    """The pieces in the order of time, without those that take no time; messages are buffered.

    Raises InputError for times in which messages hold their devices (rendezvous, batched).
    """
    return _Walk(workload, times).pieces()


def clock_after(workload: Workload, times: Times, device: int, position: int) -> int:
    """When a device is done with a position of its row (0 before the first)."""
    ops = workload.ops[device]
    while position >= 0:
        code, target = ops[position].code, ops[position].target
        if code in (COMPUTE, STEP):
            return times.ends[device][position]
        if code == SEND:
            return times.sent[target]
        if code == RECEIVE:
            return times.posted[target]
        position -= 1
    return 0


@dataclass(slots=True)
class _Place:
    """Where the walk stands: behind a position of a device's row, a message, or an all-reduce."""

    what: Literal["device", "message", "all-reduce"]
    number: int
    position: int = -1
    until: int | None = None
    """the moment at which the walk comes upon an all-reduce under way; None is its end"""


class _Walk:
    """From the end to the start; `now` falls with every piece."""

    def __init__(self, workload: Workload, times: Times) -> None:
        self._workload, self._times = workload, times
        self._found: list[Piece] = []
        self._sent_at: dict[int, int] = {}
        self._launched_at: dict[tuple[int, int], int] = {}
        for device, ops in enumerate(workload.ops):
            for position, op in enumerate(ops):
                if op.code == SEND:
                    self._sent_at[op.target] = position
                elif op.code == REDUCE:
                    self._launched_at[op.target, device] = position
        self._by_resource: dict[int, list[int]] = defaultdict(list)
        for number, message in enumerate(workload.messages):
            for resource in message.resources:
                self._by_resource[resource].append(number)

    def pieces(self) -> tuple[Piece, ...]:
        """Walks; the path covers the iteration or the times are not of this kind."""
        overhead = self._workload.profile.overheads.iteration_ns
        end = self._times.end_ns
        place = self._last()
        self._add("framework", place.number if place.what == "device" else 0, "end of the iteration", end - overhead, end)
        while place.what != "device" or place.position >= 0:
            if place.what == "device":
                place = self._behind_action(place.number, place.position)
            elif place.what == "message":
                place = self._behind_message(place.number)
            else:
                place = self._behind_all_reduce(place.number, place.until)
        first, *others = reversed(self._found) if self._found else (Piece("framework", 0, "nothing", 0, 0, ""),)
        path = (first._replace(waited_for=""), *(o if o.waited_for else o._replace(waited_for=_DEVICE) for o in others))
        ends = [0, *(piece.end_ns for piece in path)]
        if [piece.start_ns for piece in path] != ends[:-1] or ends[-1] != end:
            raise InputError("these times", "are not those of buffered messages", "explain a buffered prediction")
        return path

    def _add(self, kind: PieceKind, device: int, subject: str, start: int, end: int) -> None:
        if end > start:
            self._found.append(Piece(kind, device, subject, start, end, ""))

    def _because(self, reason: str) -> None:
        """What the piece added last waited for, unless that is known (some pieces take no time)."""
        if self._found and not self._found[-1].waited_for:
            self._found[-1] = self._found[-1]._replace(waited_for=reason)

    def _last(self) -> _Place:
        """What ends last: a device's row, or an all-reduce nobody waits for."""
        rows = self._workload.ops
        clocks = [clock_after(self._workload, self._times, device, len(ops) - 1) for device, ops in enumerate(rows)]
        ends = [end for _, end in self._times.reduces]
        if ends and max(ends) > max(clocks):
            return _Place("all-reduce", ends.index(max(ends)))
        device = clocks.index(max(clocks))
        return _Place("device", device, len(rows[device]) - 1)

    def _behind_action(self, device: int, position: int) -> _Place:
        """From the end of an action of a row to what it followed."""
        code, action, needs, target = self._workload.ops[device][position]
        previous, times = _Place("device", device, position - 1), self._times
        if code == SEND:
            message = self._workload.messages[target]
            sent = times.sent[target]
            self._add("send", device, str(action), sent - message.send_overhead_ns, sent)
            return previous
        if code in (RECEIVE, REDUCE):
            return previous
        start, end = times.starts[device][position], times.ends[device][position]
        if code == STEP:
            self._add("optimizer", device, str(action), start, end)
            if target >= 0 and times.reduces[target][1] > clock_after(self._workload, times, device, position - 1):
                self._because(f"the all-reduce of stage {self._workload.collectives[target].action.stage}")
                return _Place("all-reduce", target)
            return previous
        return self._behind_compute(device, position, needs, start, end)

    def _behind_compute(self, device: int, position: int, needs: tuple[int, ...], start: int, end: int) -> _Place:
        action = str(self._workload.ops[device][position].action)
        self._add("compute", device, action, start, end)
        dispatch = self._workload.profile.overheads.dispatch_ns
        self._because("its dispatch" if dispatch else "")
        self._add("dispatch", device, action, start - dispatch, start)
        now = start - dispatch
        for number in reversed(needs):
            message = self._workload.messages[number]
            taken = now - message.receive_overhead_ns
            if taken < now:
                self._because("its message to be taken over")
            self._add("receive", device, str(message.receive), taken, now)
            if self._times.arrived[number] > self._times.needed[number]:
                self._because(f"{message.receive} from device {message.source}")
                return _Place("message", number)
            now = self._times.needed[number]
        return _Place("device", device, position - 1)

    def _behind_message(self, number: int) -> _Place:
        """From a message's arrival to its sender, or to the message that held its link before."""
        message, times = self._workload.messages[number], self._times
        arrived, sent = times.arrived[number], times.sent[number]
        start = arrived - message.occupancy_ns
        self._add("message", message.source, str(message.receive), start, arrived)
        if start > sent:
            before = self._held_the_link(number, start)
            if before is None:
                return self._behind_exchange(number, start)
            self._because(f"the link, held by {self._workload.messages[before].receive}")
            return _Place("message", before)
        self._because(f"device {message.source} to send it")
        return _Place("device", message.source, self._sent_at[number])

    def _held_the_link(self, number: int, start: int) -> int | None:
        """The message that freed a resource of this one just then; the longest if there are several, if any."""
        resources, messages = self._workload.messages[number].resources, self._workload.messages
        candidates = {
            other
            for resource in resources
            for other in self._by_resource[resource]
            if other != number and self._times.arrived[other] == start
        }
        return max(candidates, key=lambda other: (messages[other].occupancy_ns, other), default=None)

    def _behind_exchange(self, number: int, start: int) -> _Place:
        """From a message's start to the all-reduce that held a NIC of its way until then."""
        ours = set(self._workload.messages[number].resources)
        for other, (begun, ended) in enumerate(self._times.reduces):
            collective = self._workload.collectives[other]
            if begun < start <= ended and ours & set(collective.resources):
                self._because(f"the NIC, held by the all-reduce of stage {collective.action.stage}")
                return _Place("all-reduce", other, until=start)
        raise InputError("these times", "are not those of buffered messages", "explain a buffered prediction")

    def _behind_all_reduce(self, number: int, until: int | None) -> _Place:
        """From an all-reduce's end to its last member's launch, or to what kept a member busy."""
        action, members, *_ = self._workload.collectives[number]
        start, end = self._times.reduces[number]
        end = end if until is None else until
        launches = {
            device: clock_after(self._workload, self._times, device, self._launched_at[number, device]) for device in members
        }
        last = max(members, key=lambda device: launches[device])
        self._add("all-reduce", last, str(action), start, end)
        if launches[last] < start:
            for other, (_, freed) in enumerate(self._times.reduces):
                collective = self._workload.collectives[other]
                if other != number and freed == start and set(members) & set(collective.members):
                    self._because(f"the all-reduce of stage {collective.action.stage}")
                    return _Place("all-reduce", other)
        self._because(f"device {last} to launch it")
        return _Place("device", last, self._launched_at[number, last])
