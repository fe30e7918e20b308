"""A plan with costs: what both engines interpret, message by message and nanosecond by nanosecond."""

from __future__ import annotations

__all__ = ["COMPUTE", "RECEIVE", "REDUCE", "SEND", "STEP", "Collective", "Message", "Op", "OpCode", "Workload"]

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from chimera.pipeline.actions import Action, Kind, Step
from chimera.pipeline.grid import Grid
from chimera.pipeline.schedule import Plan
from chimera.simulator.costs.collectives import all_reduce_ns, cost_among, rounds_of
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.network import Network
from chimera.simulator.costs.profile import Locality, Profile
from chimera.simulator.workload.structure import (
    COMPUTE,
    RECEIVE,
    REDUCE,
    SEND,
    STEP,
    Op,
    OpCode,
    Structure,
    structure_of,
)


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
    """One all-reduce: the devices that must launch it, how long it takes, and the NICs it crosses.

    It crosses them in so many exchanges one after another, each of which holds all of them.
    """

    action: Action
    members: tuple[int, ...]
    duration_ns: int
    resources: tuple[int, ...] = ()
    rounds: int = 1


# Half the time of Message(...), and there is one for every third action.
_message: Callable[[tuple[object, ...]], Message] = partial(tuple.__new__, Message)


@dataclass(slots=True)
class Workload:
    """Resolved actions per device, their durations (0 for communication), messages and collectives.

    `ops` and `missing` belong to the plan's structure, which other workloads share: never change them.
    """

    plan: Plan
    profile: Profile
    durations: Durations
    width: int = 1
    structure: Structure = field(init=False)
    ops: list[list[Op]] = field(init=False)
    work_ns: list[list[int]] = field(init=False)
    messages: list[Message] = field(init=False)
    message_kinds: list[Message] = field(init=False)
    """one example of the messages that cost alike, as `structure.wires_alike` numbers them"""
    collectives: list[Collective] = field(init=False)
    missing: dict[int, str] = field(init=False)
    """needs that no action of the plan satisfies in time, by a number beyond the messages"""
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        self.network = Network(self.profile)
        self.structure = structure = structure_of(self.plan)
        self.ops, self.missing = structure.ops, structure.missing
        costs = [self._message_cost(*wire) for wire in structure.wire_kinds]
        self.message_kinds = [_message((*w, *cost)) for w, cost in zip(structure.wire_kinds, costs, strict=True)]
        wires = zip(structure.receives, structure.sources, structure.targets, structure.wires_alike, strict=True)
        self.messages = [_message((receive, source, target, *costs[kind])) for receive, source, target, kind in wires]
        self.collectives = [self._collective(action, members) for action, members in structure.collectives]
        self.work_ns = self._work() if self.profile.locality == Locality() else self._work_by_order()

    def _message_cost(self, receive: Action, source: int, target: int) -> tuple[int, int, int, int, tuple[int, ...]]:
        """The last five fields of Message."""
        link, network = self.network.link(source, target), self.network
        size = self.durations.message_bytes(receive)
        occupancy = network.occupancy_ns(source, target, size)
        overheads = (link.send_overhead_ns, link.receive_overhead_ns)
        return (size, occupancy, *overheads, network.resources(source, target))

    def _collective(self, action: Action, members: tuple[int, ...]) -> Collective:
        size = self.durations.stage(action.stage).gradient_bytes
        ranks = Grid(self.plan.schedule.devices, self.width).ranks_of(members)
        cost = cost_among(self.profile, ranks)
        duration, rounds = all_reduce_ns(cost, size, len(ranks)), rounds_of(cost, size, len(ranks))
        resources = self.network.nics(members, ranks) if duration else ()
        return Collective(action, members, duration, resources, rounds)

    def _work(self) -> list[list[int]]:
        costs = [0 if example is None else self._action_ns(example) for example in self.structure.kinds]
        return [[costs[kind] for kind in row] for row in self.structure.alike]

    def _action_ns(self, action: Step) -> int:
        return self.durations.compute_ns(action) if action.is_compute else self.durations.step_ns(action.parts[0].stage)

    def _work_by_order(self) -> list[list[int]]:
        """Durations that depend on what the device computed before."""
        rows = []
        for ops in self.ops:
            previous: Step | None = None
            done: Counter[tuple[int, Kind]] = Counter()
            row = []
            for op in ops:
                if op.code is COMPUTE:
                    row.append(self.durations.compute_in_order_ns(op.action, previous, done))
                    previous = op.action
                    done.update((part.stage, part.kind) for part in op.action.parts)
                else:
                    row.append(self.durations.step_ns(op.action.parts[0].stage) if op.code is STEP else 0)
            rows.append(row)
        return rows
