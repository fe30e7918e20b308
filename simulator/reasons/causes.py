"""What a message or an all-reduce waited for before it began."""

from __future__ import annotations

__all__ = ["Cause", "Causes", "Place"]

from collections import defaultdict
from typing import Literal, NamedTuple

from chimera.pipeline.errors import InputError
from chimera.simulator.engines.clocks import clocks
from chimera.simulator.engines.exchanges import Transport, exchange_end, holds_devices
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.workload import RECEIVE, REDUCE, SEND, Workload


class Place(NamedTuple):
    """Where a walk from the end stands: behind a position of a row, a posted message, a message or an all-reduce."""

    what: Literal["device", "posting", "message", "all-reduce"]
    number: int
    """the device, the message or the all-reduce"""
    position: int = -1
    until: int | None = None
    """the moment at which the walk comes upon an all-reduce under way; None is its end"""


class Cause(NamedTuple):
    """What had to happen first, in words, and where that is."""

    reason: str
    place: Place


class Causes:
    """Answers for the times of one engine's run; they must be those of these semantics."""

    def __init__(self, workload: Workload, times: Times, semantics: Transport) -> None:
        self.clocks = clocks(workload, times, semantics)
        self.blocking, self._batched, self._stream = (
            holds_devices(semantics),
            semantics == "batched",
            semantics == "stream",
        )
        self._workload, self._times = workload, times
        self._at: dict[tuple[int, int], int] = {}
        self._launched_at: dict[tuple[int, int], int] = {}
        self._before: dict[tuple[int, int], int] = {}
        for device, ops in enumerate(workload.ops):
            previous = -1
            for position, op in enumerate(ops):
                if op.code == REDUCE:
                    self._launched_at[device, op.target] = position
                elif op.code in (SEND, RECEIVE):
                    self._at[device, op.target] = position
                    self._before[device, op.target], previous = previous, op.target
        self._freed: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, message in enumerate(workload.messages):
            for resource in message.resources:
                self._freed[resource, times.arrived[number]].append(number)

    def posted_together(self, device: int, position: int) -> tuple[int, int]:
        """The first position of what a device posted with this one, and one beyond the last."""
        first = position
        while first and self._batched and self._end(device, first - 1) == self._end(device, position):
            first -= 1
        return first, self._end(device, position)

    def _end(self, device: int, position: int) -> int:
        if self._workload.ops[device][position].code not in (SEND, RECEIVE):
            return position + 1
        return exchange_end(self._workload, device, position, batched=self._batched)

    def of_exchange(self, device: int, position: int) -> Cause:
        """Why a device could go on behind messages that held it: the last of them had crossed."""
        ops = self._workload.ops[device][slice(*self.posted_together(device, position))]
        last = max((op.target for op in ops), key=lambda number: self._times.arrived[number])
        return Cause(f"{self._workload.messages[last].receive} to cross", Place("message", last))

    def of_message(self, number: int) -> Cause:
        """Why a message began to cross when it did: it was posted then, or what was in its way was gone."""
        message, times = self._workload.messages[number], self._times
        start, sent = times.arrived[number] - message.occupancy_ns, times.sent[number]
        posted = times.posted[number] if self.blocking or self._stream else sent
        if start > max(sent, posted):
            return self._in_the_way(number, start)
        if posted > sent:
            where = Place("posting", message.target, self._at[message.target, number])
            return Cause(f"device {message.target} to receive it", where)
        return Cause(
            f"device {message.source} to send it", Place("posting", message.source, self._at[message.source, number])
        )

    def _in_the_way(self, number: int, start: int) -> Cause:
        """The message before on a device's stream, the one that held the link, or the all-reduce that held the NIC."""
        message, messages = self._workload.messages[number], self._workload.messages
        for device in (message.source, message.target) if self._stream else ():
            before = self._before[device, number]
            if before >= 0 and self._times.arrived[before] == start:
                return Cause(f"device {device}'s stream, held by {messages[before].receive}", Place("message", before))
        held = {other for resource in message.resources for other in self._freed[resource, start]} - {number}
        if held:
            before = max(held, key=lambda other: (messages[other].occupancy_ns, other))
            return Cause(f"the link, held by {messages[before].receive}", Place("message", before))
        return self._at_the_nic(message.resources, start)

    def _at_the_nic(self, resources: tuple[int, ...], start: int) -> Cause:
        for other, (begun, ended) in enumerate(self._times.reduces):
            collective = self._workload.collectives[other]
            if begun < start <= ended and set(resources) & set(collective.resources):
                reason = f"the NIC, held by the all-reduce of stage {collective.action.stage}"
                return Cause(reason, Place("all-reduce", other, until=start))
        raise InputError(
            "a message that waits", "has nothing in its way", "name the semantics its times were predicted with"
        )

    def of_all_reduce(self, number: int) -> tuple[int, Cause]:
        """Its last member, and why it began when it did: that one's launch, or another all-reduce's end."""
        members, start = self._workload.collectives[number].members, self._times.reduces[number][0]
        last = max(members, key=lambda device: self._launched(device, number))
        if self._launched(last, number) < start:
            before = self._reduced_before(number, start)
            if before is not None:
                reason = f"the all-reduce of stage {self._workload.collectives[before].action.stage}"
                return last, Cause(reason, Place("all-reduce", before))
        return last, Cause(f"device {last} to launch it", Place("device", last, self._launched_at[last, number]))

    def _launched(self, device: int, number: int) -> int:
        return self.clocks[device][self._launched_at[device, number]]

    def _reduced_before(self, number: int, start: int) -> int | None:
        """An all-reduce that kept a member busy until then; those that take no time pass the question on."""
        seen, asking = {number}, [number]
        while asking:
            members = set(self._workload.collectives[asking.pop()].members)
            for other, (begun, freed) in enumerate(self._times.reduces):
                theirs = self._workload.collectives[other].members
                if other not in seen and freed == start and members & set(theirs):
                    if begun < start or max(self._launched(device, other) for device in theirs) == start:
                        return other
                    seen.add(other)
                    asking.append(other)
        return None
