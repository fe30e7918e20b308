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
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

from pipeline.actions import Action, Kind
from pipeline.timeline import Category, MemoryEvent
from simulator.durations import share_of
from simulator.inflight import WeightVersions
from simulator.times import Times
from simulator.workload import Op, OpCode, Workload


class Peak(NamedTuple):
    """The largest number of bytes a device ever holds: when, brought about by what, made up of what."""

    time_ns: int
    total_bytes: int
    cause: str
    by_category: dict[str, int]


def memory_peak(events: Iterable[MemoryEvent]) -> Peak:
    """The peak of one device's events, which are in order; the earliest one if there are several."""
    held: Counter[str] = Counter()
    total, peak = 0, Peak(0, 0, "", {})
    for event in events:
        total += event.delta_bytes
        held[event.category] += event.delta_bytes
        if total > peak.total_bytes:
            peak = Peak(event.time_ns, total, event.cause, dict(held))
    return peak


def memory_events(workload: Workload, times: Times) -> tuple[tuple[MemoryEvent, ...], ...]:
    """All changes per device, by time; at one moment in the order in which the device goes about them."""
    rows = []
    for device, ops in enumerate(workload.ops):
        ledger = _Ledger(workload, times, device)
        ledger.open()
        for position, op in enumerate(ops):
            ledger.follow(position, op)
        ledger.events.sort(key=attrgetter("time_ns"))
        rows.append(tuple(ledger.events))
    return tuple(rows)


class _Ledger:
    """The events of one device, written down while its row is read."""

    def __init__(self, workload: Workload, times: Times, device: int) -> None:
        self.workload, self.times, self.device = workload, times, device
        self.schedule, self.durations = workload.plan.schedule, workload.durations
        self.events: list[MemoryEvent] = []
        self._stored: dict[tuple[int, int], list[int]] = {}
        self._recomputed: dict[tuple[int, int], list[int]] = {}
        self._with_gradients: set[int] = set()
        self._versions = WeightVersions() if self.schedule.update == "pipedream" else None

    def add(self, time_ns: int, category: Category, delta_bytes: int, cause: str) -> None:
        """Writes an event down, unless it changes nothing."""
        if delta_bytes:
            self.events.append(MemoryEvent(self.device, time_ns, category, delta_bytes, cause))

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

    def follow(self, position: int, op: Op) -> None:
        """What one action changes."""
        if op.code is OpCode.COMPUTE:
            start, end = self.times.starts[self.device][position], self.times.ends[self.device][position]
            self._consume(op.needs, Kind.RECV_F, start)
            for part in op.action.parts:
                if part.kind is Kind.F:
                    self._forward(part, start, end)
                else:
                    self._backward(part, start, end)
            self._consume(op.needs, Kind.RECV_B, end)
        elif op.code is OpCode.SEND:
            size, cause = self.workload.messages[op.target].size_bytes, str(op.action)
            self.add(self.times.sent[op.target], "buffers", size, cause)
            self.add(self.times.arrived[op.target], "buffers", -size, cause)
        elif op.code is OpCode.RECEIVE:
            size = self.workload.messages[op.target].size_bytes
            self.add(self.times.posted[op.target], "buffers", size, str(op.action))
        elif op.code is OpCode.STEP and self._versions is not None:
            stage = op.action.parts[0].stage
            if self._versions.step(stage):
                end = self.times.ends[self.device][position]
                self.add(end, "versions", self.durations.stage(stage).parameter_bytes, str(op.action))

    def _consume(self, needs: tuple[int, ...], kind: Kind, time_ns: int) -> None:
        """A forward takes its input over as a stored activation at once; a gradient is used until the end."""
        for number in needs:
            message = self.workload.messages[number]
            if message.receive.kind is kind:
                self.add(time_ns, "buffers", -message.size_bytes, str(message.receive))

    def _forward(self, part: Action, start: int, end: int) -> None:
        costs, cause = self.durations.stage(part.stage, share_of(part)), str(part)
        kept = costs.input_bytes if self.schedule.recompute else costs.activation_bytes
        passing = costs.forward_workspace_bytes + max(costs.activation_bytes - kept, 0)
        self.add(start, "activations", kept, cause)
        self.add(start, "workspace", passing, cause)
        self.add(end, "workspace", -passing, cause)
        covered = part.microbatches
        for index, microbatch in enumerate(covered):
            whole = kept // 2 if len(covered) > 1 and index == 0 else kept - kept // 2 if len(covered) > 1 else kept
            # What the whole backward, or each half of it in turn, releases.
            self._stored[part.stage, microbatch] = [whole // 2, whole - whole // 2]
        if self._versions is not None:
            self._versions.forward(part)

    def _backward(self, part: Action, start: int, end: int) -> None:
        costs, cause, key = self.durations.stage(part.stage, share_of(part)), str(part), (part.stage, part.microbatch)
        workspace = costs.backward_workspace_bytes
        self.add(start, "workspace", workspace, cause)
        if self.schedule.recompute and part.kind is not Kind.W:
            again = max(costs.activation_bytes - costs.input_bytes, 0)
            self._recomputed.setdefault(key, []).append(again)
            self.add(start, "activations", again, f"{cause}: recomputed")
        if part.kind is not Kind.I:
            self._finish(part, key, start, end, cause)
        self.add(end, "workspace", -workspace, cause)

    def _finish(self, part: Action, key: tuple[int, int], start: int, end: int, cause: str) -> None:
        """The weight gradient is there: activations go, and perhaps an old version of the weights."""
        if part.stage not in self._with_gradients:
            self._with_gradients.add(part.stage)
            self.add(start, "gradients", self.durations.stage(part.stage).gradient_bytes, cause)
        self.add(end, "activations", -_release(self._stored[key], part.half), cause)
        self.add(end, "activations", -_release(self._recomputed.get(key, []), part.half), f"{cause}: recomputed")
        if self._versions is not None and self._versions.finish(part):
            self.add(end, "versions", -self.durations.stage(part.stage).parameter_bytes, cause)


def _release(portions: list[int], half: int) -> int:
    """Takes everything that is left, or for half a backward the next portion."""
    if half >= 0 and len(portions) > 1:
        return portions.pop(0)
    released = sum(portions)
    portions.clear()
    return released
