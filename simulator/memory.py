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
from operator import attrgetter
from typing import NamedTuple

from pipeline.actions import Action, Kind, Step
from pipeline.timeline import Category, MemoryEvent
from simulator.durations import share_of
from simulator.inflight import WeightVersions
from simulator.times import Times
from simulator.workload import COMPUTE, RECEIVE, SEND, STEP, Workload

# Looking a member up in its class costs ten times as much as a module's name.
_F, _I, _RECV_F = Kind.F, Kind.I, Kind.RECV_F


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
        ledger.events.sort(key=attrgetter("time_ns"))
        rows.append(tuple(ledger.events))
    return tuple(rows)


# Half the time of MemoryEvent(...), and there are eight of them per computation.
_event: Callable[[tuple[int, int, Category, int, str]], MemoryEvent] = partial(tuple.__new__, MemoryEvent)


class _Footprint(NamedTuple):
    """Bytes of one kind of action: what it leaves behind, what it needs while it runs, what it computes again."""

    kept: int
    passing: int
    again: int


class _Ledger:
    """The events of one device, written down while its row is read."""

    def __init__(self, workload: Workload, times: Times, device: int) -> None:
        self.workload, self.times, self.device = workload, times, device
        self.schedule, self.durations = workload.plan.schedule, workload.durations
        self.events: list[MemoryEvent] = []
        self._footprints: dict[tuple[int, Kind, bool, bool], _Footprint] = {}
        self._texts: dict[int, str] = {}
        self._stored: dict[tuple[int, int], int] = {}
        self._first_half_done: set[tuple[int, int]] = set()
        self._recomputed: dict[tuple[int, int], list[int]] = {}
        self._with_gradients: set[int] = set()
        self._versions = WeightVersions() if self.schedule.update == "pipedream" else None

    def add(self, time_ns: int, category: Category, delta_bytes: int, cause: str) -> None:
        """Writes an event down, unless it changes nothing."""
        if delta_bytes:
            self.events.append(_event((self.device, time_ns, category, delta_bytes, cause)))

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
        messages, times, add = self.workload.messages, self.times, self.add
        starts, ends = times.starts[self.device], times.ends[self.device]
        for position, (code, action, needs, target) in enumerate(self.workload.ops[self.device]):
            if code == COMPUTE:
                self._compute(action, needs, starts[position], ends[position])
            elif code == SEND:
                size, cause = messages[target].size_bytes, str(action)
                add(times.sent[target], "buffers", size, cause)
                add(times.arrived[target], "buffers", -size, cause)
            elif code == RECEIVE:
                cause = self._texts[target] = str(action)
                add(times.posted[target], "buffers", messages[target].size_bytes, cause)
            elif code == STEP and self._versions is not None:
                stage = action.parts[0].stage
                if self._versions.step(stage):
                    add(ends[position], "versions", self.durations.stage(stage).parameter_bytes, str(action))

    def _compute(self, action: Step, needs: tuple[int, ...], start: int, end: int) -> None:
        """A forward takes its input over as a stored activation at once; a gradient is used until the end."""
        gradients = []
        for number in needs:
            message = self.workload.messages[number]
            if message.receive.kind is _RECV_F:
                self.add(start, "buffers", -message.size_bytes, self._texts[number])
            else:
                gradients.append((message.size_bytes, self._texts[number]))
        for part in action.parts:
            if part.kind is _F:
                self._forward(part, start, end)
            else:
                self._backward(part, start, end)
        for size, text in gradients:
            self.add(end, "buffers", -size, text)

    def _footprint(self, part: Action) -> _Footprint:
        key = (part.stage, part.kind, part.also >= 0, part.half >= 0)
        found = self._footprints.get(key)
        if found is None:
            costs = self.durations.stage(part.stage, share_of(part))
            kept = costs.input_bytes if self.schedule.recompute else costs.activation_bytes
            discarded = max(costs.activation_bytes - kept, 0)
            if part.kind is Kind.F:
                found = _Footprint(kept, costs.forward_workspace_bytes + discarded, 0)
            else:
                again = discarded if part.kind is not Kind.W else 0
                found = _Footprint(0, costs.backward_workspace_bytes, again)
            self._footprints[key] = found
        return found

    def _forward(self, part: Action, start: int, end: int) -> None:
        kept, passing, _ = self._footprint(part)
        cause = str(part)
        self.add(start, "activations", kept, cause)
        self.add(start, "workspace", passing, cause)
        self.add(end, "workspace", -passing, cause)
        if part.also < 0:
            self._stored[part.stage, part.microbatch] = kept
        else:
            self._stored[part.stage, part.microbatch] = kept // 2
            self._stored[part.stage, part.also] = kept - kept // 2
        if self._versions is not None:
            self._versions.forward(part)

    def _backward(self, part: Action, start: int, end: int) -> None:
        _, workspace, again = self._footprint(part)
        cause, key = str(part), (part.stage, part.microbatch)
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
