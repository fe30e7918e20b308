"""Memory as a timeline, event by event, so that a peak has a moment and a cause.

A device holds from the start: the framework's constant, the weights of its (replica, stage) pairs,
their optimizer state and (if they persist) gradient buffers, and for PipeDream-2BW a second version
of the weights. A forward stores its activations from its start (with recomputation only its input)
until the backward that uses them ends: B, or W where the backward is split; half of them each for
half backwards. A recomputing backward holds the whole activations while it runs, or from I to W.
Receive buffers live from the posting of the receive until a forward takes them over as its stored
input, or a backward has consumed them; send buffers until the message has arrived. An action's
workspace lives while it runs. With update="pipedream" a step leaves the old weights behind for the
micro-batches that used them, until the last of those has finished its backward.
"""

from __future__ import annotations

__all__ = ["Peak", "memory_events", "memory_peak"]

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from pipeline.actions import Action, Kind, Step
from pipeline.timeline import Category, MemoryEvent
from simulator.costs.durations import share_of
from simulator.inflight import WeightVersions
from simulator.times import Times
from simulator.workload import COMPUTE, RECEIVE, SEND, STEP, Workload

# Looking a member up in its class costs ten times as much as a module's name.
_F, _I, _RECV_F = Kind.F, Kind.I, Kind.RECV_F
_BUFFERS: Category = "buffers"


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
        ledger.open()
        ledger.follow()
        ledger.changes.sort(key=itemgetter(1))
        rows.append(tuple(map(_event, ledger.changes)))
    return tuple(rows)


_Change = tuple[int, int, Category, int, str]
# Half the time of MemoryEvent(...), and there are seven of them per computation.
_event: Callable[[_Change], MemoryEvent] = partial(tuple.__new__, MemoryEvent)


class _Footprint(NamedTuple):
    """Bytes of one kind of action: what it leaves behind, what it needs while it runs, what it computes again."""

    kept: int
    passing: int
    again: int


class _Ledger:
    """The changes of one device, written down while its row is read."""

    def __init__(self, workload: Workload, times: Times, device: int) -> None:
        self.workload, self.times, self.device = workload, times, device
        self.schedule, self.durations = workload.plan.schedule, workload.durations
        self.changes: list[_Change] = []
        self._footprints: dict[int, tuple[_Footprint, ...]] = {}
        self._texts: dict[int, str] = {}
        self._stored: dict[tuple[int, int], int] = {}
        self._first_half_done: set[tuple[int, int]] = set()
        self._recomputed: dict[tuple[int, int], list[int]] = {}
        self._with_gradients: set[int] = set()
        self._versions = WeightVersions() if self.schedule.update == "pipedream" else None

    def add(self, time_ns: int, category: Category, delta_bytes: int, cause: str) -> None:
        """Writes a change down, unless it is none."""
        if delta_bytes:
            self.changes.append((self.device, time_ns, category, delta_bytes, cause))

    def open(self) -> None:
        """What the device holds from the start."""
        profile = self.workload.profile
        self.add(0, "framework", profile.framework_bytes, "framework")
        for replica, stage in self.schedule.held_by(self.device):
            costs, cause = self.durations.stage(stage), f"stage {stage} of replica {replica}"
            self.add(0, "weights", costs.parameter_bytes, cause)
            self.add(0, "optimizer", costs.optimizer_bytes, cause)
            if profile.optimizer.gradients_persist:
                self.add(0, "gradients", costs.gradient_bytes, cause)
                self._with_gradients.add(stage)
            if self.schedule.update == "2bw":
                self.add(0, "versions", costs.parameter_bytes, f"{cause}: second version")

    def follow(self) -> None:
        """What the actions of the row change, one after another."""
        device, times, write, messages = self.device, self.times, self.changes.append, self.workload.messages
        starts, ends, posted, sent, arrived = (
            times.starts[device],
            times.ends[device],
            times.posted,
            times.sent,
            times.arrived,
        )
        structure, given = self.workload.structure, self._texts
        row = zip(
            self.workload.ops[device], structure.alike[device], structure.texts[device], starts, ends, strict=True
        )
        for (code, action, needs, target), kind, text, start, end in row:
            if code is COMPUTE:
                self._compute(action, kind, text, needs, start, end)
            elif code is SEND:
                size = messages[target].size_bytes
                if size:
                    write((device, sent[target], "buffers", size, text))
                    write((device, arrived[target], "buffers", -size, text))
            elif code is RECEIVE:
                size = messages[target].size_bytes
                if size:
                    given[target] = text
                    write((device, posted[target], "buffers", size, text))
            elif code is STEP and self._versions is not None:
                stage = action.parts[0].stage
                if self._versions.step(stage):
                    self.add(end, "versions", self.durations.stage(stage).parameter_bytes, text)

    def _compute(self, action: Step, kind: int, text: str, needs: tuple[int, ...], start: int, end: int) -> None:
        """A forward takes its input over as a stored activation at once; a gradient is used until the end."""
        gradients = []
        for number in needs:
            message = self.workload.messages[number]
            size = message.size_bytes
            if size and message.receive.kind is _RECV_F:
                self.changes.append((self.device, start, "buffers", -size, self._texts[number]))
            elif size:
                gradients.append((self.device, end, _BUFFERS, -size, self._texts[number]))
        parts, footprints = action.parts, self._footprints.get(kind)
        if footprints is None:
            footprints = self._footprints[kind] = tuple(map(self._footprint, parts))
        for part, footprint in zip(parts, footprints, strict=True):
            cause = text if part is action else str(part)
            if part.kind is _F:
                self._forward(part, footprint, cause, start, end)
            else:
                self._backward(part, footprint, cause, start, end)
        self.changes += gradients

    def _footprint(self, part: Action) -> _Footprint:
        costs = self.durations.stage(part.stage, share_of(part))
        kept = costs.input_bytes if self.schedule.recomputes(part.stage) else costs.activation_bytes
        discarded = max(costs.activation_bytes - kept, 0)
        if part.kind is _F:
            return _Footprint(kept, costs.forward_workspace_bytes + discarded, 0)
        return _Footprint(0, costs.backward_workspace_bytes, discarded if part.kind is not Kind.W else 0)

    def _forward(self, part: Action, footprint: _Footprint, cause: str, start: int, end: int) -> None:
        kept, passing, _ = footprint
        device, write = self.device, self.changes.append
        if kept:
            write((device, start, "activations", kept, cause))
        if passing:
            write((device, start, "workspace", passing, cause))
            write((device, end, "workspace", -passing, cause))
        if part.also < 0:
            self._stored[part.stage, part.microbatch] = kept
        else:
            self._stored[part.stage, part.microbatch] = kept // 2
            self._stored[part.stage, part.also] = kept - kept // 2
        if self._versions is not None:
            self._versions.forward(part)

    def _backward(self, part: Action, footprint: _Footprint, cause: str, start: int, end: int) -> None:
        _, workspace, again = footprint
        key = (part.stage, part.microbatch)
        self.add(start, "workspace", workspace, cause)
        if again:
            self._recomputed.setdefault(key, []).append(again)
            self.add(start, "activations", again, f"{cause}: recomputed")
        if part.kind is not _I:
            self._finish(part, key, start, end, cause)
        self.add(end, "workspace", -workspace, cause)

    def _finish(self, part: Action, key: tuple[int, int], start: int, end: int, cause: str) -> None:
        """The weight gradient is there: activations go, and perhaps an old version of the weights."""
        if part.stage not in self._with_gradients:
            self._with_gradients.add(part.stage)
            self.add(start, "gradients", self.durations.stage(part.stage).gradient_bytes, cause)
        released = self._stored.pop(key)
        if part.half >= 0 and key not in self._first_half_done:
            self._first_half_done.add(key)
            self._stored[key] = released - released // 2
            released //= 2
        self.add(end, "activations", -released, cause)
        if self._recomputed.get(key):
            again = self._recomputed[key].pop(0) if part.half >= 0 else sum(self._recomputed.pop(key))
            self.add(end, "activations", -again, f"{cause}: recomputed")
        if self._versions is not None and self._versions.finish(part):
            self.add(end, "versions", -self.durations.stage(part.stage).parameter_bytes, cause)
