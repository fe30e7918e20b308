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

from pipeline.actions import Action, Kind, Step
from pipeline.dependencies import inputs_of, results_of
from pipeline.errors import ScheduleError
from pipeline.schedule import Plan
from simulator.recent import Recent


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


class Wire(NamedTuple):
    """A message without its costs: the action that receives it, and the devices at its ends."""

    receive: Action
    source: int
    target: int


# Half the time of Op(...) and Wire(...), which are made for every action.
_op: Callable[[tuple[OpCode, Step, tuple[int, ...], int]], Op] = partial(tuple.__new__, Op)
_wire: Callable[[tuple[Action, int, int]], Wire] = partial(tuple.__new__, Wire)


class Structure:
    """A resolved plan: actions per device, messages, all-reduces, and which of them always cost alike.

    `alike[device][position]` is the number of an action's kind in `kinds` (one example each; number 0
    is communication, which has no example); `wires_alike` numbers the messages' kinds in `wire_kinds`.
    `collectives` are (action, members). `missing` are needs that no action of the plan satisfies in
    time, by a number below zero. `graphs` is where `simulator.compiled.graph` keeps what it makes of this.
    Raises ScheduleError for a message that nobody receives.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ops: list[list[Op]] = []
        self.alike: list[list[int]] = []
        self.kinds: list[Step | None] = [None]
        self.wires: list[Wire] = []
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
        numbers, wires = self._numbers, self.wires
        kinds: dict[tuple[int, int, int, Kind, bool, bool], int] = {}
        for target, row in enumerate(self.plan.actions):
            for action in row:
                kind = action.kind
                if kind is not _RECV_F and kind is not _RECV_B:
                    continue
                assert isinstance(action, Action)
                stage, _, microbatch, also, half = action
                source = placement[replica_of[microbatch]][stage - 1 if kind is _RECV_F else stage + 1]
                numbers[action] = len(wires)
                wires.append(_wire((action, source, target)))
                number = kinds.setdefault((source, target, stage, kind, also >= 0, half >= 0), len(kinds))
                self.wires_alike.append(number)
                if number == len(self.wire_kinds):
                    self.wire_kinds.append(wires[-1])

    def _resolve(self, device: int, row: tuple[Step, ...]) -> None:
        ops: list[Op] = []
        alike: list[int] = []
        done: set[tuple[object, ...]] = set()
        occurrences: dict[int, int] = defaultdict(int)
        numbers, kind_of = self._numbers, self._kind_of
        for action in row:
            kind = action.kind
            if kind is _RECV_F or kind is _RECV_B:
                alike.append(0)
                ops.append(_op((RECEIVE, action, (), numbers[action])))
            elif kind in _SENT_AS:
                alike.append(0)
                ops.append(_op((SEND, action, (), self._sent(device, action))))
            elif kind is _REDUCE:
                assert isinstance(action, Action)
                alike.append(0)
                ops.append(_op((REDUCE, action, (), self._collective(action, occurrences[action.stage]))))
                occurrences[action.stage] += 1
            elif kind is _STEP:
                assert isinstance(action, Action)
                alike.append(kind_of(action))
                reductions = occurrences[action.stage]
                waits_for = self._launched[action.stage, reductions - 1] if reductions else -1
                ops.append(_op((STEP, action, (), waits_for)))
            else:
                alike.append(kind_of(action))
                ops.append(_op((COMPUTE, action, self._needs(action, done), -1)))
        self.ops.append(ops)
        self.alike.append(alike)

    def _kind_of(self, action: Step) -> int:
        """The number of those actions that cost as much as this one does, whatever the profile."""
        key: tuple[object, ...]
        if isinstance(action, Action):
            stage, kind, _, also, half = action
            key = (stage, kind, also >= 0, half >= 0)
        else:
            key = tuple([(part.stage, part.kind, part.half >= 0) for part in action])
        found = self._kind_numbers.get(key)
        if found is None:
            found = self._kind_numbers[key] = len(self.kinds)
            self.kinds.append(action)
        return found

    def _sent(self, device: int, action: Step) -> int:
        """The message a SEND sends; raises ScheduleError if no device posts its receive."""
        assert isinstance(action, Action)
        receive, towards = _SENT_AS[action.kind]
        number = self._numbers.get((action.stage + towards, receive, *action[2:]))
        if number is None:
            raise ScheduleError(
                f"device {device}: {action}", "is received by nobody", "lower the schedule again", device=device
            )
        return number

    def _needs(self, action: Step, done: set[tuple[object, ...]]) -> tuple[int, ...]:
        """Messages that a computation waits for: its inputs which the device has not computed itself.

        An input that is neither computed before nor received becomes a need nobody satisfies.
        """
        found: list[int] = []
        for part in action.parts:
            stage, kind = part.stage, part.kind
            number = None
            for needed in inputs_of(part, self.plan.schedule.stages):
                if needed in done or _covered(needed, done):
                    continue
                if number is None and kind is not _W:
                    number = self._numbers.get((stage, _RECV_F if kind is _F else _RECV_B, *part[2:]))
                if needed[0] == stage or number is None:
                    number = -1 - len(self.missing)
                    self.missing[number] = f"{needed[0]}{needed[1]}{needed[2]}"
                if number not in found:
                    found.append(number)
            done.update(results_of(part))
        return tuple(found)

    def _collective(self, action: Action, occurrence: int) -> int:
        """The number of a stage's n-th all-reduce, described when first met."""
        key = (action.stage, occurrence)
        if key not in self._launched:
            self._launched[key] = len(self.collectives)
            self.collectives.append((action, self.plan.schedule.replica_devices(action.stage)))
        return self._launched[key]


def _covered(needed: tuple[int, str, int, int], done: set[tuple[object, ...]]) -> bool:
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
