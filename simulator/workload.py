"""A plan with costs: what both engines interpret, message by message and nanosecond by nanosecond."""

from __future__ import annotations

__all__ = ["Collective", "Message", "Op", "OpCode", "Workload"]

from collections import defaultdict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from pipeline.actions import Action, Kind, Step
from pipeline.dependencies import inputs_of, results_of
from pipeline.errors import ScheduleError
from pipeline.schedule import Plan
from simulator.collectives import all_reduce_ns
from simulator.durations import Durations
from simulator.network import Network
from simulator.profile import Profile


class OpCode(IntEnum):
    """What an interpreter does with an action."""

    COMPUTE = 0
    SEND = 1
    RECEIVE = 2
    REDUCE = 3
    STEP = 4


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
        costs: dict[tuple[int, int, int], tuple[int, int, int, tuple[int, ...]]] = {}
        for target, row in enumerate(self.plan.actions):
            for action in row:
                kind = action.kind
                if kind is not Kind.RECV_F and kind is not Kind.RECV_B:
                    continue
                assert isinstance(action, Action)
                neighbour = action.stage - 1 if kind is Kind.RECV_F else action.stage + 1
                source = placement[replica_of[action.microbatch]][neighbour]
                size = self.durations.message_bytes(action)
                cost = costs.get((source, target, size))
                if cost is None:
                    link = self.network.link(source, target)
                    occupancy = self.network.occupancy_ns(source, target, size)
                    cost = (
                        occupancy,
                        link.send_overhead_ns,
                        link.receive_overhead_ns,
                        self.network.resources(source, target),
                    )
                    costs[source, target, size] = cost
                numbers[action] = len(self.messages)
                self.messages.append(Message(action, source, target, size, *cost))

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
        for action in row:
            kind, duration, target = action.kind, 0, -1
            needs: tuple[int, ...] = ()
            if kind in _SENT_AS:
                code = OpCode.SEND
                target = self._sent(device, action, numbers)
            elif kind is Kind.RECV_F or kind is Kind.RECV_B:
                code, target = OpCode.RECEIVE, numbers[action]
            elif kind is Kind.REDUCE_GRAD:
                assert isinstance(action, Action)
                code, target = OpCode.REDUCE, self._collective(action, occurrences[action.stage], launched)
                occurrences[action.stage] += 1
            elif kind is Kind.STEP:
                assert isinstance(action, Action)
                code, duration = OpCode.STEP, self.durations.step_ns(action.stage)
                if occurrences[action.stage]:
                    target = launched[action.stage, occurrences[action.stage] - 1]
            else:
                code, duration = OpCode.COMPUTE, self.durations.compute_ns(action)
                needs = self._needs(action, done, numbers)
            ops.append(Op(code, action, needs, target))
            work.append(duration)
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
        stages = self.plan.schedule.stages
        for part in action.parts:
            stage, kind = part.stage, part.kind
            for needed in inputs_of(part, stages):
                if needed in done or _covered(needed, done):
                    continue
                key = (stage, Kind.RECV_F if kind is Kind.F else Kind.RECV_B, *part[2:])
                number = numbers.get(key) if needed[0] != stage else None
                if number is None:
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
    *what, half = needed
    if half >= 0:
        return (*what, -1) in done
    return (*what, 0) in done and (*what, 1) in done


_SENT_AS = {Kind.SEND_F: (Kind.RECV_F, 1), Kind.SEND_B: (Kind.RECV_B, -1)}
