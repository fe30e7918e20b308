"""What a plan says apart from all costs: who waits for which message, what belongs together, what costs alike.

Predictions of one plan with other costs share it, and the graphs that the compiled engine makes of it.
"""

from __future__ import annotations

__all__ = ["COMPUTE", "RECEIVE", "REDUCE", "SEND", "STEP", "Op", "OpCode", "Structure", "Wire", "structure_of"]

from collections import defaultdict
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

from chimera.pipeline.actions import COMPUTE as _COMPUTATIONS
from chimera.pipeline.actions import Action, Kind, Step
from chimera.pipeline.errors import ScheduleError
from chimera.pipeline.rules import RECEIVED_AS, Result, flow_of, receive_of
from chimera.pipeline.schedule import Plan
from chimera.simulator.workload.recent import Recent


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


class Op(NamedTuple):
    """One action of a device, resolved.

    `needs` are the messages a computation consumes; `target` is the message of a SEND or RECV, the
    collective of a REDUCE_GRAD, the collective a STEP waits for (or -1).
    """

    code: OpCode
    action: Step
    needs: tuple[int, ...] = ()
    target: int = -1


class Wire(NamedTuple):
    """A message without its costs: the action that receives it, and the devices at its ends."""

    receive: Action
    source: int
    target: int


# Half the time of Op(...), of which there is one for every action.
_op: Callable[[tuple[OpCode, Step, tuple[int, ...], int]], Op] = partial(tuple.__new__, Op)


class Structure:
    """A resolved plan: actions per device, messages, all-reduces, and which of them always cost alike.

    `alike[device][position]` is the number of an action's kind in `kinds` (one example each; number 0
    is communication, which has no example). Messages are three columns: who is sent what by whom;
    `wires_alike` numbers their kinds in `wire_kinds`.
    `computing[device]` are the positions of its computations. `collectives` are (action, members).
    `missing` are needs that no action of the plan satisfies in time, by a number below zero. `graphs`
    is where `chimera.simulator.engines.compiled.graph` keeps what it makes of this.
    Raises ScheduleError for a message that nobody receives.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ops: list[list[Op]] = []
        self.alike: list[list[int]] = []
        self.computing: list[list[int]] = []
        self.kinds: list[Step | None] = [None]
        self.receives: list[Action] = []
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.wires_alike: list[int] = []
        self.wire_kinds: list[Wire] = []
        self.collectives: list[tuple[Action, tuple[int, ...]]] = []
        self.missing: dict[int, str] = {}
        self.graphs: Recent[Any, Any] = Recent(4, 4)
        self._texts: list[list[str]] | None = None
        self._numbers: dict[tuple[object, ...], int] = {}
        self._launched: dict[tuple[int, int], int] = {}
        self._kind_numbers: dict[tuple[object, ...], int] = {}
        self._number_messages()
        for device, row in enumerate(plan.actions):
            self._resolve(device, row)

    @property
    def texts(self) -> list[list[str]]:
        """Every action as it is written."""
        if self._texts is None:
            self._texts = [[str(op.action) for op in row] for row in self.ops]
        return self._texts

    def _number_messages(self) -> None:
        """Gives every posted receive its number."""
        placement, replica_of = self.plan.schedule.placement, self.plan.schedule.replica_of
        kinds: dict[tuple[int, int, int, Kind, bool, bool], int] = {}
        numbers, receives, sources, alike = self._numbers, self.receives, self.sources, self.wires_alike
        for target, row in enumerate(self.plan.actions):
            for action in row:
                kind = action.kind
                if kind is not _RECV_F and kind is not _RECV_B:
                    continue
                assert isinstance(action, Action)
                stage, _, microbatch, also, half = action
                source = placement[replica_of[microbatch]][stage - 1 if kind is _RECV_F else stage + 1]
                numbers[action] = len(receives)
                receives.append(action)
                sources.append(source)
                key = (source, target, stage, kind, also >= 0, half >= 0)
                number = kinds.get(key)
                if number is None:
                    number = kinds[key] = len(kinds)
                    self.wire_kinds.append(Wire(action, source, target))
                alike.append(number)
            self.targets += [target] * (len(receives) - len(self.targets))

    def _resolve(self, device: int, row: tuple[Step, ...]) -> None:
        ops: list[Op] = []
        alike: list[int] = []
        computing: list[int] = []
        inputs = _Inputs(self._numbers, self.missing, self.plan.schedule.stages)
        launches: dict[int, int] = defaultdict(int)
        for position, action in enumerate(row):
            kind = action.kind
            if kind in _COMPUTATIONS:
                computing.append(position)
                alike.append(self._kind_of(action))
                ops.append(_op((COMPUTE, action, inputs.needs(action), -1)))
                continue
            assert isinstance(action, Action)
            alike.append(self._kind_of(action) if kind is _STEP else 0)
            if kind is _RECV_F or kind is _RECV_B:
                ops.append(_op((RECEIVE, action, (), self._numbers[action])))
            elif kind in RECEIVED_AS:
                ops.append(_op((SEND, action, (), self._sent(device, action))))
            elif kind is _REDUCE:
                ops.append(_op((REDUCE, action, (), self._collective(action, launches[action.stage]))))
                launches[action.stage] += 1
            else:
                reductions = launches[action.stage]
                waits_for = self._launched[action.stage, reductions - 1] if reductions else -1
                ops.append(_op((STEP, action, (), waits_for)))
        self.ops.append(ops)
        self.alike.append(alike)
        self.computing.append(computing)

    def _kind_of(self, action: Step) -> int:
        """The number of those actions that cost as much as this one does, whatever the profile."""
        key: tuple[object, ...]
        if len(action) == 5:
            stage, kind, _, also, half = action
            key = (stage, kind, also >= 0, half >= 0)
        else:
            key = tuple([(part.stage, part.kind, part.half >= 0) for part in action.parts])
        found = self._kind_numbers.get(key)
        if found is None:
            found = self._kind_numbers[key] = len(self.kinds)
            self.kinds.append(action)
        return found

    def _sent(self, device: int, action: Action) -> int:
        """The message a SEND sends; raises ScheduleError if no device posts its receive."""
        number = self._numbers.get(receive_of(action))
        if number is None:
            raise ScheduleError(
                f"device {device}: {action}", "is received by nobody", "lower the schedule again", device=device
            )
        return number

    def _collective(self, action: Action, occurrence: int) -> int:
        """The number of a stage's n-th all-reduce, described when first met."""
        key = (action.stage, occurrence)
        if key not in self._launched:
            self._launched[key] = len(self.collectives)
            self.collectives.append((action, self.plan.schedule.replica_devices(action.stage)))
        return self._launched[key]


class _Inputs:
    """What the computations of one device wait for, given what it has computed before."""

    def __init__(self, numbers: dict[tuple[object, ...], int], missing: dict[int, str], stages: int) -> None:
        self._numbers, self._missing, self._stages = numbers, missing, stages
        self._done: set[Result] = set()
        self._halved = False

    def needs(self, action: Step) -> tuple[int, ...]:
        """Messages that a computation waits for: its inputs which the device has not computed itself.

        An input that is neither computed before nor received becomes a need nobody satisfies.
        """
        found: tuple[int, ...] = ()
        done = self._done
        for part in action.parts:
            if part[4] >= 0:
                self._halved = True
            inputs, results = flow_of(part, self._stages)
            for needed in inputs:
                if needed not in done and not (self._halved and _covered(needed, done)):
                    number = self._number(part, needed)
                    if number not in found:
                        found = (*found, number)
            done.update(results)
        return found

    def _number(self, part: Action, needed: Result) -> int:
        """The message that brings it, or a number below zero."""
        stage, kind, microbatch, also, half = part
        number = None
        if needed[0] != stage and kind is not _W:
            number = self._numbers.get((stage, _RECV_F if kind is _F else _RECV_B, microbatch, also, half))
        if number is None:
            number = -1 - len(self._missing)
            self._missing[number] = f"{needed[0]}{needed[1]}{needed[2]}"
        return number


def _covered(needed: Result, done: set[Result]) -> bool:
    """Whether a half was computed as part of the whole, or the whole in both halves."""
    stage, what, microbatch, half = needed
    if half >= 0:
        return (stage, what, microbatch, -1) in done
    return (stage, what, microbatch, 0) in done and (stage, what, microbatch, 1) in done


STRUCTURES: Recent[Plan, Structure] = Recent(16, 300_000)
"""of the last few plans, of so many actions together"""


def structure_of(plan: Plan) -> Structure:
    """The structure of a plan: kept for the last few plans, because studies change costs more often than orders."""
    return STRUCTURES.get(plan, Structure, weight=sum(map(len, plan.actions)))
