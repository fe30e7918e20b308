"""The reference engine: SimPy processes, one a device, that follow a plan literally.

A device works through its row. A computation starts when the device is free, its messages have
arrived, the receive overheads are paid and the action is dispatched. A SEND costs its overhead and
puts the message on its link; a RECV posts. Messages on a directed link are served in the order of
their sending, so a message's arrival is known, arithmetically, the moment it is sent: an action
costs one or two events; `simulator.sharing` adds events where computations slow each other down.
Time is integer nanoseconds. When no event is left while a device has
actions left, the devices wait for one another for ever, and that is reported.
"""

from __future__ import annotations

__all__ = ["run"]

from collections.abc import Generator
from typing import Any

import simpy

from pipeline.errors import DeadlockError
from simulator.sharing import Sharing, sharing_reason
from simulator.times import Times
from simulator.workload import COMPUTE, RECEIVE, REDUCE, SEND, Op, Workload

Steps = Generator[simpy.Event, Any, None]


def run(workload: Workload, work_ns: list[list[int]] | None = None) -> Times:
    """Simulates one iteration; `work_ns[device][position]` replaces the workload's own durations.

    Raises DeadlockError naming which action of which device waits for what.
    """
    return _Run(workload, workload.work_ns if work_ns is None else work_ns).result()


class _Run:
    """One iteration under way."""

    def __init__(self, workload: Workload, work_ns: list[list[int]]) -> None:
        self.env = simpy.Environment(initial_time=0)
        self.workload, self.work_ns = workload, work_ns
        self.times = Times.of(workload)
        self.sharing = Sharing(self.env, workload) if sharing_reason(workload) else None
        self.position = [0] * len(workload.ops)
        self.clock = [0] * len(workload.ops)
        self.free = [0] * workload.network.resource_count
        self.waiting: dict[int, simpy.Event] = {}
        self.launched = [0] * len(workload.collectives)
        self.finished: dict[int, simpy.Event] = {}
        self.ready: list[int] = []
        self.reducing = [False] * len(workload.ops)

    def result(self) -> Times:
        """Runs until nothing can happen any more."""
        for device in range(len(self.workload.ops)):
            self.env.process(self._device(device))
        self.env.run()
        unfinished = [d for d, ops in enumerate(self.workload.ops) if self.position[d] < len(ops)]
        if unfinished:
            raise self._deadlock(unfinished)
        ends = [end for _, end in self.times.reduces]
        self.times.end_ns = max([*self.clock, *ends]) + self.workload.profile.overheads.iteration_ns
        return self.times

    def _device(self, device: int) -> Steps:
        """One device's process. Its clock may run ahead of the environment's by host overheads."""
        env, times, messages = self.env, self.times, self.workload.messages
        starts, ends, work = times.starts[device], times.ends[device], self.work_ns[device]
        arrived, needed = times.arrived, times.needed
        dispatch = self.workload.profile.overheads.dispatch_ns
        clock = 0
        for position, (code, _, needs, target) in enumerate(self.workload.ops[device]):
            self.position[device] = position
            if code == COMPUTE:
                for number in needs:
                    if number < 0 or arrived[number] < 0:
                        self.waiting[number] = event = env.event()
                        yield event
                    needed[number] = clock
                    clock = max(clock, arrived[number]) + messages[number].receive_overhead_ns
                starts[position] = clock = clock + dispatch
                if self.sharing is None:
                    ends[position] = clock = clock + work[position]
                    yield env.timeout(clock - env._now)
                else:
                    yield env.timeout(clock - env._now)
                    yield self.sharing.compute(device, work[position])
                    ends[position] = clock = int(env.now)
            elif code == SEND:
                clock += messages[target].send_overhead_ns
                if self.workload.network.shared and clock > env._now:
                    yield env.timeout(clock - env._now)
                self._transmit(target, clock)
            elif code == RECEIVE:
                times.posted[target] = clock
            else:
                if clock > env._now:
                    yield env.timeout(clock - env._now)
                if code == REDUCE:
                    self._launch(target)
                else:
                    if target >= 0 and times.reduces[target][1] < 0:
                        yield self.finished[target]
                    starts[position] = clock = int(env.now)
                    ends[position] = clock = clock + work[position]
                    yield env.timeout(work[position])
        self.position[device] = len(self.workload.ops[device])
        self.clock[device] = clock

    def _transmit(self, number: int, now: int) -> None:
        """Puts a message on its link, behind whatever holds it, and wakes who waits for it."""
        message, free = self.workload.messages[number], self.free
        start = now
        for resource in message.resources:
            start = max(start, free[resource])
        arrival = start + message.occupancy_ns
        for resource in message.resources:
            free[resource] = arrival
        self.times.sent[number], self.times.arrived[number] = now, arrival
        event = self.waiting.pop(number, None)
        if event is not None:
            event.succeed()

    def _launch(self, number: int) -> None:
        """One member has launched an all-reduce; the last one makes it ready."""
        if number not in self.finished:
            self.finished[number] = self.env.event()
        self.launched[number] += 1
        if self.launched[number] == len(self.workload.collectives[number].members):
            self.ready.append(number)
            self._start_ready()

    def _start_ready(self) -> None:
        """Starts, in the order they became ready, the all-reduces whose members reduce nothing else."""
        for number in tuple(self.ready):
            _, members, duration = self.workload.collectives[number]
            if any(self.reducing[member] for member in members):
                continue
            self.ready.remove(number)
            for member in members:
                self.reducing[member] = True
            self.env.process(self._reduce(number, members, duration))

    def _reduce(self, number: int, members: tuple[int, ...], duration: int) -> Steps:
        start = self.env.now
        yield self.env.timeout(duration) if self.sharing is None else self.sharing.reduce(members, duration)
        self.times.reduces[number] = (int(start), int(self.env.now))
        for member in members:
            self.reducing[member] = False
        self.finished[number].succeed()
        self._start_ready()

    def _deadlock(self, unfinished: list[int]) -> DeadlockError:
        """Which action of which device waits for what."""
        waits = [self._wait(device, self.workload.ops[device][self.position[device]]) for device in unfinished]
        first = unfinished[0]
        position = self.position[first]
        others = "" if len(waits) == 1 else "; " + "; ".join(waits[1:])
        return DeadlockError(
            waits[0],
            f"nothing can happen any more{others}",
            "`chimera check` names the circle of waiting devices",
            device=first,
            position=position,
        )

    def _wait(self, device: int, op: Op) -> str:
        place = f"device {device}, position {self.position[device]}: {op.action} waits for"
        if op.code is COMPUTE:
            number = next(n for n in op.needs if n < 0 or self.times.arrived[n] < 0)
            if number < 0:
                return f"{place} {self.workload.missing[number]}, which its device has not computed"
            message = self.workload.messages[number]
            return f"{place} {message.receive} from device {message.source}"
        collective = self.workload.collectives[op.target]
        absent = len(collective.members) - self.launched[op.target]
        return f"{place} {collective.action}, which {absent} of devices {list(collective.members)} have not launched"
