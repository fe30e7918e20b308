"""Memory as a timeline, event by event, so that a peak has a moment and a cause; or the peaks alone.

A device holds from the start: the framework's constant, the weights of its (replica, stage) pairs,
their optimizer state and (if they persist) gradient buffers, and for PipeDream-2BW a second version
of the weights. What computations take and give back is said in `chimera.simulator.memory.footprints`. Receive
buffers live from the posting of the receive until a forward takes them over as its stored input, or
a backward has consumed them; send buffers until the message has arrived.
"""

from __future__ import annotations

__all__ = ["Peak", "memory_events", "memory_peak", "memory_peaks"]

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from chimera.pipeline.actions import Action, Kind, Step
from chimera.pipeline.timeline import Category, MemoryEvent
from chimera.simulator.engines.times import Times
from chimera.simulator.memory.footprints import Footprints
from chimera.simulator.workload.workload import COMPUTE, RECEIVE, SEND, STEP, Workload

# Looking a member up in its class costs several times as much as a module's name.
_F, _RECV_F = Kind.F, Kind.RECV_F


class Peak(NamedTuple):
    """The largest number of bytes a device ever holds: when, brought about by what, made up of what."""

    time_ns: int
    total_bytes: int
    cause: str
    by_category: dict[str, int]


def memory_peak(events: Sequence[MemoryEvent]) -> Peak:
    """The peak of one device's events, which are in order; the earliest one if there are several."""
    totals = list(accumulate(event.delta_bytes for event in events))
    if not totals:
        return Peak(0, 0, "", {})
    highest = max(totals)
    place = totals.index(highest)
    held: Counter[str] = Counter()
    for event in events[: place + 1]:
        held[event.category] += event.delta_bytes
    return Peak(events[place].time_ns, highest, events[place].cause, dict(held))


def memory_events(workload: Workload, times: Times) -> tuple[tuple[MemoryEvent, ...], ...]:
    """All changes per device, by time; at one moment in the order in which the device goes about them."""
    rows = []
    for device in range(len(workload.ops)):
        ledger = _Ledger(workload, times, device)
        ledger.follow()
        ledger.changes.sort(key=itemgetter(1))
        rows.append(tuple(map(_event, ledger.changes)))
    return tuple(rows)


def memory_peaks(workload: Workload, times: Times) -> tuple[int, ...]:
    """The most bytes each device ever holds, as `memory_peak` finds them, in a third of the time."""
    return tuple(_Holding(workload, times, device).highest() for device in range(len(workload.ops)))


class _Holding:
    """What one device holds while its row is followed; only messages under way are given back out of turn."""

    def __init__(self, workload: Workload, times: Times, device: int) -> None:
        self._ops, self._messages, self._times, self._device = workload.ops[device], workload.messages, times, device
        self._footprints = _footprints(workload, device)
        self._held = self._highest = sum(size for _, size, _ in _from_the_start(workload, device))
        self._leaving: list[tuple[int, int]] = []

    def highest(self) -> int:
        """Follows the row to its end."""
        take, messages = self._take, self._messages
        sent, arrived, posted = self._times.sent, self._times.arrived, self._times.posted
        columns = (self._times.starts[self._device], self._times.ends[self._device])
        for (code, action, needs, target), start, end in zip(self._ops, *columns, strict=True):
            if code is COMPUTE:
                self._compute(action, needs, start, end)
            elif code is SEND:
                size = messages[target][3]
                take(sent[target], size)
                heappush(self._leaving, (arrived[target], size))
            elif code is RECEIVE:
                take(posted[target], messages[target][3])
            elif code is STEP:
                take(end, self._footprints.step(action.parts[0].stage))
        return self._highest

    def _take(self, now: int, size: int) -> None:
        """Holds more from now on; what has arrived by now was given back before."""
        held, leaving = self._held + size, self._leaving
        while leaving and leaving[0][0] <= now:
            held -= heappop(leaving)[1]
        self._held = held
        if held > self._highest:
            self._highest = held

    def _compute(self, action: Step, needs: tuple[int, ...], start: int, end: int) -> None:
        """All is taken at the start, then given back at the end; what takes no time gives back part by part."""
        footprints, messages, later = self._footprints, self._messages, 0
        for number in needs:
            message = messages[number]
            if message[0][1] is _RECV_F:
                self._held -= message[3]
            else:
                later += message[3]
        for part in action.parts:
            if part[1] is _F:
                stored, given = footprints.forward(part)
                self._take(start, stored + given)
            else:
                workspace, recomputed, gradients, released, forgotten, version = footprints.backward(part)
                self._take(start, workspace + recomputed + gradients)
                given = workspace + released + forgotten + version
            if start == end:
                self._held -= given
            else:
                later += given
        self._held -= later


def _footprints(workload: Workload, device: int) -> Footprints:
    """Those of a device; the buffers of gradients that persist are there already."""
    schedule, persist = workload.plan.schedule, workload.profile.optimizer.gradients_persist
    return Footprints(schedule, workload.durations, set(schedule.stages_on(device)) if persist else set())


def _from_the_start(workload: Workload, device: int) -> Iterator[tuple[Category, int, str]]:
    """What a device holds throughout: category, bytes, cause."""
    profile, schedule = workload.profile, workload.plan.schedule
    yield "framework", profile.framework_bytes, "framework"
    for replica, stage in schedule.held_by(device):
        costs, cause = workload.durations.stage(stage), f"stage {stage} of replica {replica}"
        yield "weights", costs.parameter_bytes, cause
        yield "optimizer", costs.optimizer_bytes, cause
        if profile.optimizer.gradients_persist:
            yield "gradients", costs.gradient_bytes, cause
        if schedule.update == "2bw":
            yield "versions", costs.parameter_bytes, f"{cause}: second version"


_Change = tuple[int, int, Category, int, str]
# Half the time of MemoryEvent(...), and there are seven of them per computation.
_event: Callable[[_Change], MemoryEvent] = partial(tuple.__new__, MemoryEvent)


class _Ledger:
    """The changes of one device with their causes, written down while its row is read."""

    def __init__(self, workload: Workload, times: Times, device: int) -> None:
        self.workload, self.times, self.device = workload, times, device
        self.changes: list[_Change] = []
        self._footprints = _footprints(workload, device)
        self._texts: dict[int, str] = {}

    def add(self, time_ns: int, category: Category, delta_bytes: int, cause: str) -> None:
        """Writes a change down, unless it is none."""
        if delta_bytes:
            self.changes.append((self.device, time_ns, category, delta_bytes, cause))

    def follow(self) -> None:
        """What is there from the start, then what the actions of the row change, one after another."""
        device, times, messages = self.device, self.times, self.workload.messages
        for category, size, cause in _from_the_start(self.workload, device):
            self.add(0, category, size, cause)
        columns = (self.workload.structure.texts[device], times.starts[device], times.ends[device])
        for (code, action, needs, target), text, start, end in zip(self.workload.ops[device], *columns, strict=True):
            if code is COMPUTE:
                self._compute(action, text, needs, start, end)
            elif code is SEND:
                size = messages[target].size_bytes
                self.add(times.sent[target], "buffers", size, text)
                self.add(times.arrived[target], "buffers", -size, text)
            elif code is RECEIVE:
                self._texts[target] = text
                self.add(times.posted[target], "buffers", messages[target].size_bytes, text)
            elif code is STEP:
                self.add(end, "versions", self._footprints.step(action.parts[0].stage), text)

    def _compute(self, action: Step, text: str, needs: tuple[int, ...], start: int, end: int) -> None:
        """A forward takes its input over as a stored activation at once; a gradient is used until the end."""
        found = [(self.workload.messages[number], number) for number in needs]
        # A plan taken literally may post a receive behind the computation that waited for it.
        messages = [(message, self._texts.get(number) or str(message.receive)) for message, number in found]
        for message, cause in messages:
            if message.receive.kind is _RECV_F:
                self.add(start, "buffers", -message.size_bytes, cause)
        for part in action.parts:
            cause = text if part is action else str(part)
            if part.kind is _F:
                self._forward(part, cause, start, end)
            else:
                self._backward(part, cause, start, end)
        for message, cause in messages:
            if message.receive.kind is not _RECV_F:
                self.add(end, "buffers", -message.size_bytes, cause)

    def _forward(self, part: Action, cause: str, start: int, end: int) -> None:
        stored, workspace = self._footprints.forward(part)
        self.add(start, "activations", stored, cause)
        self.add(start, "workspace", workspace, cause)
        self.add(end, "workspace", -workspace, cause)

    def _backward(self, part: Action, cause: str, start: int, end: int) -> None:
        found = self._footprints.backward(part)
        self.add(start, "workspace", found.workspace, cause)
        self.add(start, "activations", found.recomputed, f"{cause}: recomputed")
        self.add(start, "gradients", found.gradients, cause)
        self.add(end, "activations", -found.released, cause)
        self.add(end, "activations", -found.forgotten, f"{cause}: recomputed")
        self.add(end, "versions", -found.version, cause)
        self.add(end, "workspace", -found.workspace, cause)
