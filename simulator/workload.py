"""A plan with costs: what both engines interpret, message by message and nanosecond by nanosecond."""

from __future__ import annotations

__all__ = ["COMPUTE", "RECEIVE", "REDUCE", "SEND", "STEP", "Collective", "Message", "Op", "OpCode", "Workload"]

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import NamedTuple

from pipeline.actions import Action, Kind, Step
from pipeline.dependencies import inputs_of, results_of
from pipeline.errors import ScheduleError
from pipeline.schedule import Plan
from simulator.collectives import all_reduce_ns
from simulator.durations import Durations
from simulator.network import Network
from simulator.profile import Locality, Profile


class OpCode(IntEnum):
    """What an interpreter does with an action."""

    COMPUTE = 0
    SEND = 1
    RECEIVE = 2
    REDUCE = 3
    STEP = 4


COMPUTE, SEND, RECEIVE, REDUCE, STEP = OpCode
# Looking a member up in its class costs ten times as much as a module's name.
_F, _W, _RECV_F, _RECV_B, _REDUCE, _STEP = Kind.F, Kind.W, Kind.RECV_F, Kind.RECV_B, Kind.REDUCE_GRAD, Kind.STEP
_SENT_AS = {Kind.SEND_F: (Kind.RECV_F, 1), Kind.SEND_B: (Kind.RECV_B, -1)}


class Op(NamedTuple):
    """One action of a device, resolved.

    `needs` are the messages a computation consumes; `target` is the message of a SEND or RECV, the
    collective of a REDUCE_GRAD, the collective a STEP waits for (or -1).
    """

    code: OpCode
    action: Step
    needs: tuple[int, ...] = ()
    target: int = -1


class Message(NamedTuple):
    """One message: nanoseconds on its link, host overheads at both ends, resources it holds."""

    receive: Action
    source: int
    target: int
    size_bytes: int
    occupancy_ns: int
    send_overhead_ns: int
    receive_overhead_ns: int
    resources: tuple[int, ...]


class Collective(NamedTuple):
    """One all-reduce: the devices that must launch it and how long it takes."""

    action: Action
    members: tuple[int, ...]
    duration_ns: int


# Half the time of Op(...) and Message(...), which are made for every action.
_op: Callable[[tuple[OpCode, Step, tuple[int, ...], int]], Op] = partial(tuple.__new__, Op)
_message: Callable[[tuple[object, ...]], Message] = partial(tuple.__new__, Message)


@dataclass(slots=True)
class Workload:
    """Resolved actions per device, their durations (0 for communication), messages and collectives."""

    plan: Plan
    profile: Profile
    durations: Durations
    width: int = 1
    ops: list[list[Op]] = field(default_factory=list)
    work_ns: list[list[int]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    collectives: list[Collective] = field(default_factory=list)
    missing: dict[int, str] = field(default_factory=dict)
    """needs that no action of the plan satisfies in time, by a number beyond the messages"""
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        self.network = Network(self.profile)
        numbers: dict[tuple[object, ...], int] = {}
        launched: dict[tuple[int, int], int] = {}
        self._number_messages(numbers)
        for device, row in enumerate(self.plan.actions):
            self._resolve(device, row, numbers, launched)

    def _number_messages(self, numbers: dict[tuple[object, ...], int]) -> None:
        """Gives every posted receive its number and its costs."""
        placement, replica_of = self.plan.schedule.placement, self.plan.schedule.replica_of
        costs: dict[tuple[int, int, int], tuple[int, int, int, int, tuple[int, ...]]] = {}
        for target, row in enumerate(self.plan.actions):
            for action in row:
                kind = action.kind
                if kind is not _RECV_F and kind is not _RECV_B:
                    continue
                assert isinstance(action, Action)
                neighbour = action.stage - 1 if kind is _RECV_F else action.stage + 1
                source = placement[replica_of[action.microbatch]][neighbour]
                size = self.durations.message_bytes(action)
                cost = costs.get((source, target, size))
                if cost is None:
                    cost = costs[source, target, size] = self._message_cost(source, target, size)
                numbers[action] = len(self.messages)
                self.messages.append(_message((action, source, target, *cost)))

    def _message_cost(self, source: int, target: int, size: int) -> tuple[int, int, int, int, tuple[int, ...]]:
        """The last five fields of Message."""
        link, network = self.network.link(source, target), self.network
        occupancy = network.occupancy_ns(source, target, size)
        overheads = (link.send_overhead_ns, link.receive_overhead_ns)
        return (size, occupancy, *overheads, network.resources(source, target))

    def _resolve(
        self,
        device: int,
        row: tuple[Step, ...],
        numbers: dict[tuple[object, ...], int],
        launched: dict[tuple[int, int], int],
    ) -> None:
        ops: list[Op] = []
        work: list[int] = []
        done: set[tuple[object, ...]] = set()
        occurrences: dict[int, int] = defaultdict(int)
        compute_ns = self.durations.compute_ns
        local = self.profile.locality != Locality()
        previous: Step | None = None
        for action in row:
            kind = action.kind
            if kind is _RECV_F or kind is _RECV_B:
                work.append(0)
                ops.append(_op((RECEIVE, action, (), numbers[action])))
            elif kind in _SENT_AS:
                work.append(0)
                ops.append(_op((SEND, action, (), self._sent(device, action, numbers))))
            elif kind is _REDUCE:
                assert isinstance(action, Action)
                work.append(0)
                collective = self._collective(action, occurrences[action.stage], launched)
                ops.append(_op((REDUCE, action, (), collective)))
                occurrences[action.stage] += 1
            elif kind is _STEP:
                assert isinstance(action, Action)
                work.append(self.durations.step_ns(action.stage))
                reductions = occurrences[action.stage]
                waits_for = launched[action.stage, reductions - 1] if reductions else -1
                ops.append(_op((STEP, action, (), waits_for)))
            else:
                work.append(compute_ns(action, previous))
                previous = action if local else None
                ops.append(_op((COMPUTE, action, self._needs(action, done, numbers), -1)))
        self.ops.append(ops)
        self.work_ns.append(work)

    def _sent(self, device: int, action: Step, numbers: dict[tuple[object, ...], int]) -> int:
        """The message a SEND sends; raises ScheduleError if no device posts its receive."""
        assert isinstance(action, Action)
        receive, towards = _SENT_AS[action.kind]
        number = numbers.get((action.stage + towards, receive, *action[2:]))
        if number is None:
            raise ScheduleError(
                f"device {device}: {action}", "is received by nobody", "lower the schedule again", device=device
            )
        return number

    def _needs(
        self, action: Step, done: set[tuple[object, ...]], numbers: dict[tuple[object, ...], int]
    ) -> tuple[int, ...]:
        """Messages that a computation waits for: its inputs which the device has not computed itself.

        An input that is neither computed before nor received becomes a need nobody satisfies.
        """
        found: list[int] = []
        for part in action.parts:
            stage, kind = part.stage, part.kind
            number = None
            if kind is not _W:
                number = numbers.get((stage, _RECV_F if kind is _F else _RECV_B, *part[2:]))
            for needed in inputs_of(part, self.plan.schedule.stages):
                if needed in done or _covered(needed, done):
                    continue
                if needed[0] == stage or number is None:
                    number = -1 - len(self.missing)
                    self.missing[number] = f"{needed[0]}{needed[1]}{needed[2]}"
                if number not in found:
                    found.append(number)
            done.update(results_of(part))
        return tuple(found)

    def _collective(self, action: Action, occurrence: int, launched: dict[tuple[int, int], int]) -> int:
        """The number of a stage's n-th all-reduce, described when first met."""
        key = (action.stage, occurrence)
        if key not in launched:
            members = self.plan.schedule.replica_devices(action.stage)
            size = self.durations.stage(action.stage).gradient_bytes
            duration = all_reduce_ns(self.profile.all_reduce, size, len(members) * self.width)
            launched[key] = len(self.collectives)
            self.collectives.append(Collective(action, members, duration))
        return launched[key]


def _covered(needed: tuple[int, str, int, int], done: set[tuple[object, ...]]) -> bool:
    """Whether a half was computed as part of the whole, or the whole in both halves."""
    stage, what, microbatch, half = needed
    if half >= 0:
        return (stage, what, microbatch, -1) in done
    return (stage, what, microbatch, 0) in done and (stage, what, microbatch, 1) in done
