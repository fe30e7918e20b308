"""The critical path: the chain of actions, messages and all-reduces that makes an iteration as long as it is.

Walked from the iteration's end back to its start. Whatever began at a moment did so because of the
last thing it waited for: its device's previous action, a message, whatever was in that message's way
(`chimera.simulator.reasons.causes`), the last member to launch an all-reduce. Where two are ready at the same
moment, the device's own order counts as the reason, and of a message's ends its sender. The pieces touch and cover the
iteration exactly.
"""

from __future__ import annotations

__all__ = ["Piece", "PieceKind", "critical_path"]

from typing import Literal, NamedTuple

from chimera.pipeline.errors import InputError
from chimera.simulator.engines.exchanges import Transport
from chimera.simulator.engines.times import Times
from chimera.simulator.reasons.causes import Cause, Causes, Place
from chimera.simulator.workload.workload import COMPUTE, RECEIVE, REDUCE, SEND, Workload

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


def critical_path(workload: Workload, times: Times, semantics: Transport = "buffered") -> tuple[Piece, ...]:
    """The pieces in the order of time, without those that take no time.

    Raises InputError for times that are not those of these semantics.
    """
    return _Walk(workload, times, semantics).pieces()


class _Walk:
    """From the end to the start; `now` falls with every piece."""

    def __init__(self, workload: Workload, times: Times, semantics: Transport) -> None:
        self._workload, self._times, self._semantics = workload, times, semantics
        self._causes = Causes(workload, times, semantics)
        self._clocks = self._causes.clocks
        self._found: list[Piece] = []

    def pieces(self) -> tuple[Piece, ...]:
        """Walks; every place leads to an earlier one."""
        overhead, end = self._workload.profile.overheads.iteration_ns, self._times.end_ns
        place = self._last()
        self._add(
            "framework", place.number if place.what == "device" else 0, "end of the iteration", end - overhead, end
        )
        while place.what != "device" or place.position >= 0:
            place = self._behind(place)
        first, *others = reversed(self._found) if self._found else (Piece("framework", 0, "nothing", 0, 0, ""),)
        path = (first._replace(waited_for=""), *(o if o.waited_for else o._replace(waited_for=_DEVICE) for o in others))
        ends = [0, *(piece.end_ns for piece in path)]
        if [piece.start_ns for piece in path] != ends[:-1] or ends[-1] != end:
            given = f"times explained as those of {self._semantics} messages"
            raise InputError(given, "are those of other ones", "name the semantics they were predicted with")
        return path

    def _behind(self, place: Place) -> Place:
        if place.what == "device":
            return self._behind_action(place.number, place.position)
        if place.what == "posting":
            return self._behind_posting(place.number, place.position)
        return self._behind_message(place.number) if place.what == "message" else self._behind_all_reduce(place)

    def _add(self, kind: PieceKind, device: int, subject: str, start: int, end: int) -> None:
        if end > start:
            self._found.append(Piece(kind, device, subject, start, end, ""))

    def _because(self, cause: Cause) -> Place:
        """What the piece added last waited for, unless that is known (some pieces take no time); where that is."""
        if self._found and not self._found[-1].waited_for:
            self._found[-1] = self._found[-1]._replace(waited_for=cause.reason)
        return cause.place

    def _last(self) -> Place:
        """What ends last: a device's row, or an all-reduce nobody waits for."""
        done = [row[-1] if row else 0 for row in self._clocks]
        ends = [end for _, end in self._times.reduces]
        if ends and max(ends) > max(done):
            return Place("all-reduce", ends.index(max(ends)))
        device = done.index(max(done))
        return Place("device", device, len(self._clocks[device]) - 1)

    def _behind_action(self, device: int, position: int) -> Place:
        """From the end of an action of a row to what it followed."""
        code, action, needs, target = self._workload.ops[device][position]
        before, times = Place("device", device, position - 1), self._times
        if code == REDUCE:
            return before
        if code in (SEND, RECEIVE):
            if not self._causes.blocking:
                return Place("posting", device, position)
            return self._because(self._causes.of_exchange(device, position))
        kind: PieceKind = "compute" if code == COMPUTE else "optimizer"
        self._add(kind, device, str(action), times.starts[device][position], times.ends[device][position])
        if code == COMPUTE:
            return self._behind_compute(device, position, needs)
        if target >= 0 and times.reduces[target][1] > (self._clocks[device][position - 1] if position else 0):
            reason = f"the all-reduce of stage {self._workload.collectives[target].action.stage}"
            return self._because(Cause(reason, Place("all-reduce", target)))
        return before

    def _behind_compute(self, device: int, position: int, needs: tuple[int, ...]) -> Place:
        """From the start of a computation over its dispatch and the messages it took over."""
        before, action = Place("device", device, position - 1), str(self._workload.ops[device][position].action)
        dispatch, start = self._workload.profile.overheads.dispatch_ns, self._times.starts[device][position]
        self._because(Cause("its dispatch" if dispatch else "", before))
        now = start - dispatch
        self._add("dispatch", device, action, now, start)
        for number in reversed(needs):
            message = self._workload.messages[number]
            taken = now - message.receive_overhead_ns
            if taken < now:
                self._because(Cause("its message to be taken over", before))
            self._add("receive", device, str(message.receive), taken, now)
            if self._times.arrived[number] > self._times.needed[number]:
                reason = f"{message.receive} from device {message.source}"
                return self._because(Cause(reason, Place("message", number)))
            now = self._times.needed[number]
        return before

    def _behind_posting(self, device: int, position: int) -> Place:
        """From the moment messages are posted over the host time that costs their senders."""
        first, end = self._causes.posted_together(device, position)
        ops, times = self._workload.ops[device], self._times
        now = times.sent[ops[first].target] if ops[first].code == SEND else times.posted[ops[first].target]
        for op in reversed(ops[first:end]):
            if op.code == SEND:
                overhead = self._workload.messages[op.target].send_overhead_ns
                self._add("send", device, str(op.action), now - overhead, now)
                now -= overhead
        return Place("device", device, first - 1)

    def _behind_message(self, number: int) -> Place:
        """From a message's arrival to what it waited for."""
        message, arrived = self._workload.messages[number], self._times.arrived[number]
        self._add("message", message.source, str(message.receive), arrived - message.occupancy_ns, arrived)
        return self._because(self._causes.of_message(number))

    def _behind_all_reduce(self, place: Place) -> Place:
        """From an all-reduce's end to what it waited for."""
        start, end = self._times.reduces[place.number]
        last, cause = self._causes.of_all_reduce(place.number)
        action = self._workload.collectives[place.number].action
        self._add("all-reduce", last, str(action), start, end if place.until is None else place.until)
        return self._because(cause)
