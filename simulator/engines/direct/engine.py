"""The direct engine: SimPy processes, one a device, whose clocks run ahead of the environment's where they can.

A device works through its row. A computation starts when the device is free, its messages have
arrived, the receive overheads are paid and the action is dispatched. A SEND costs its overhead and
puts the message on its link; a RECV posts. Messages on a directed link are served in the order of
their sending, so a message's arrival is known, arithmetically, the moment it is sent. Where nothing
contends (`chimera.simulator.workload.contention`) a device's clock therefore runs ahead of the environment's until it
needs a message that has not been sent, and the device sleeps until that arrives. Elsewhere it stops at
the end of every computation; `chimera.simulator.engines.direct.sharing` adds events where computations slow each other
down. Time is integer nanoseconds. When no event is left while a device has actions left, the devices
wait for one another for ever, and that is reported.

`chimera.simulator.engines.reference.device` says the same plainly and more slowly, moment by moment; what transports
make wait stands in `chimera.simulator.engines.exchanges`.

With buffered messages and private links every moment is a maximum of sums of durations: for a fixed
order nothing that gets faster can make anything later. That need not hold where messages share a
NIC or all-reduces of partly different groups queue: who comes first may change.
"""

from __future__ import annotations

__all__ = ["run"]

from collections.abc import Generator
from functools import partial
from typing import Any

import simpy

from chimera.simulator.engines.direct.all_reduces import AllReduces
from chimera.simulator.engines.direct.links import Links
from chimera.simulator.engines.direct.sharing import Sharing
from chimera.simulator.engines.direct.streams import Streams
from chimera.simulator.engines.exchanges import Transport, exchange_end, holds_devices
from chimera.simulator.engines.stuck import deadlock
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.contention import contention
from chimera.simulator.workload.sharing import sharing_reason
from chimera.simulator.workload.workload import COMPUTE, RECEIVE, REDUCE, SEND, OpCode, Workload

Steps = Generator[simpy.Event, Any, None]


def run(
    workload: Workload,
    work_ns: list[list[int]] | None = None,
    semantics: Transport = "buffered",
    *,
    ahead: bool = True,
) -> Times:
    """Simulates one iteration; `work_ns[device][position]` replaces the workload's own durations.

    Without `ahead` every device stops at the end of every computation, even where it need not.

    Raises DeadlockError naming which action of which device waits for what.
    """
    return _Run(workload, workload.work_ns if work_ns is None else work_ns, semantics, ahead=ahead).result()


class _Run:
    """One iteration under way."""

    def __init__(self, workload: Workload, work_ns: list[list[int]], semantics: Transport, *, ahead: bool) -> None:
        self.env = simpy.Environment(initial_time=0)
        self.workload, self.work_ns = workload, work_ns
        self.times = Times.of(workload)
        self.sharing = Sharing(self.env, workload) if sharing_reason(workload) else None
        self.blocking, self.batched = holds_devices(semantics), semantics == "batched"
        self.links = Links(self.env, workload.network)
        self.private = ahead and semantics == "buffered" and contention(workload) is None
        self.streams = self._streams() if semantics == "stream" else None
        self.position = [0] * len(workload.ops)
        self.clock = [0] * len(workload.ops)
        self.waiting: dict[int, simpy.Event] = {}
        self.served: dict[int, simpy.Event] = {}
        self.all_reduces = AllReduces(
            self.env, workload, self.times, self.sharing, self.links, in_order=semantics != "buffered"
        )

    def _streams(self) -> Streams:
        ends = [(message.source, message.target) for message in self.workload.messages]
        return Streams(ends, len(self.workload.ops), lambda number: self._transmit(number, int(self.env.now)))

    def result(self) -> Times:
        """Runs until nothing can happen any more."""
        process = self._ahead if self.private else self._device
        for device in range(len(self.workload.ops)):
            self.env.process(process(device))
        self.env.run()
        if any(place < len(ops) for place, ops in zip(self.position, self.workload.ops, strict=True)):
            head = None if self.streams is None else self.streams.head
            raise deadlock(self.workload, self.times, self.position, self.all_reduces.launched, head)
        ends = [end for _, end in self.times.reduces]
        self.times.end_ns = max([*self.clock, *ends]) + self.workload.profile.overheads.iteration_ns
        return self.times

    def _device(self, device: int) -> Steps:
        """One device's process. Its clock may run ahead of the environment's by host overheads."""
        env, times, messages = self.env, self.times, self.workload.messages
        starts, ends, work = times.starts[device], times.ends[device], self.work_ns[device]
        dispatch = self.workload.profile.overheads.dispatch_ns
        # What others may be served before must be asked for at its own moment.
        synchronous = self.links.contended or self.streams is not None
        clock = exchanged = 0
        for position, (code, _, needs, target) in enumerate(self.workload.ops[device]):
            self.position[device] = position
            if code == COMPUTE:
                for number in needs:
                    if number < 0 or times.arrived[number] < 0:
                        self.waiting[number] = event = env.event()
                        yield event
                    times.needed[number] = clock
                    clock = max(clock, times.arrived[number]) + messages[number].receive_overhead_ns
                starts[position] = clock = clock + dispatch
                if self.sharing is None:
                    ends[position] = clock = clock + work[position]
                    yield env.timeout(clock - env._now)
                else:
                    yield env.timeout(clock - env._now)
                    yield self.sharing.compute(device, work[position])
                    ends[position] = clock = int(env.now)
            elif self.blocking and code in (SEND, RECEIVE):
                if position >= exchanged:
                    exchanged = exchange_end(self.workload, device, position, batched=self.batched)
                    clock = yield from self._exchange(device, position, exchanged, clock)
            elif code == RECEIVE and self.streams is None:
                times.posted[target] = clock
            elif code in (SEND, RECEIVE):
                clock += messages[target].send_overhead_ns if code == SEND else 0
                if synchronous and clock > env._now:
                    yield env.timeout(clock - env._now)
                self._post(device, code, target, clock)
            else:
                clock = yield from self._synchronise(device, position, clock)
        self.position[device] = len(self.workload.ops[device])
        self.clock[device] = clock

    def _ahead(self, device: int) -> Steps:
        """The same where nothing contends: only what another device has not sent or launched yet stops it."""
        # Fields of messages by number, here and in `chimera.simulator.memory.events`: twice as fast as by name.
        times, messages, waiting = self.times, self.workload.messages, self.waiting
        starts, ends, work = times.starts[device], times.ends[device], self.work_ns[device]
        arrived, needed, posted, sent = times.arrived, times.needed, times.posted, times.sent
        dispatch, hold = self.workload.profile.overheads.dispatch_ns, self.links.hold
        clock = 0
        for position, (code, _, needs, target) in enumerate(self.workload.ops[device]):
            if code is COMPUTE:
                for number in needs:
                    if number < 0 or arrived[number] < 0:
                        self.position[device] = position
                        waiting[number] = event = self.env.event()
                        yield event
                    needed[number] = clock
                    arrival = arrived[number]
                    clock = (clock if clock > arrival else arrival) + messages[number][6]
                starts[position] = clock = clock + dispatch
                ends[position] = clock = clock + work[position]
            elif code is SEND:
                _, _, _, _, occupancy, overhead, _, resources = messages[target]
                sent[target] = clock = clock + overhead
                arrived[target] = arrival = hold(resources, occupancy, clock) if resources else clock + occupancy
                if target in waiting:
                    self._wake(waiting.pop(target), arrival)
            elif code is RECEIVE:
                posted[target] = clock
            else:
                self.position[device] = position
                clock = yield from self._synchronise(device, position, clock)
        self.position[device] = len(starts)
        self.clock[device] = clock

    def _wake(self, event: simpy.Event, moment: int) -> None:
        """The event happens at a moment to come."""
        event._ok, event._value = True, None
        self.env.schedule(event, delay=moment - self.env._now)

    def _post(self, device: int, code: OpCode, number: int, now: int) -> None:
        """A device sends a message, or expects it, and goes on."""
        moments = self.times.sent if code == SEND else self.times.posted
        moments[number] = now
        if self.streams is not None:
            self.streams.post(device, number)
        elif code == SEND:
            self._transmit(number, now)

    def _transmit(self, number: int, now: int) -> None:
        """Puts a message on its link, behind whatever holds it."""
        _, _, _, _, occupancy, _, _, resources = self.workload.messages[number]
        if resources and self.links.contended:
            told = partial(self._under_way, number)
            self.links.ask((0, *self.workload.messages[number].receive), resources, occupancy, told)
        else:
            self._under_way(number, now, self.links.hold(resources, occupancy, now) if resources else now + occupancy)

    def _under_way(self, number: int, _start: int, arrival: int) -> None:
        """Its arrival is known: whoever waits for it is woken, whoever it holds up goes on then."""
        self.times.arrived[number] = arrival
        event = self.waiting.pop(number, None)
        if event is not None:
            event.succeed()
        if self.streams is not None:
            self.links.at(arrival, partial(self.streams.finish, number))
        elif self.blocking:
            self.links.at(arrival, self.served[number].succeed)

    def _exchange(self, device: int, first: int, end: int, clock: int) -> Generator[simpy.Event, Any, int]:
        """Posts a group of messages and waits until all have been transferred; the time then."""
        group = self.workload.ops[device][first:end]
        clock += sum(self.workload.messages[op.target].send_overhead_ns for op in group if op.code == SEND)
        yield self.env.timeout(clock - self.env._now)
        events = []
        for op in group:
            moments = self.times.sent if op.code == SEND else self.times.posted
            moments[op.target] = clock
            event = self.served.get(op.target)
            if event is None:
                event = self.served[op.target] = self.env.event()
            else:
                self._transmit(op.target, clock)
            events.append(event)
        yield self.env.all_of(events)
        return int(self.env.now)

    def _synchronise(self, device: int, position: int, clock: int) -> Generator[simpy.Event, Any, int]:
        """Launches an all-reduce, or waits for one and takes the optimizer step; the time then."""
        code, _, _, target = self.workload.ops[device][position]
        if clock > self.env._now:
            yield self.env.timeout(clock - self.env._now)
        if code == REDUCE:
            self.all_reduces.launch(device, target)
            return clock
        if target >= 0 and self.times.reduces[target][1] < 0:
            yield self.all_reduces.finished[target]
        start, work = int(self.env.now), self.work_ns[device][position]
        self.times.starts[device][position], self.times.ends[device][position] = start, start + work
        yield self.env.timeout(work)
        return start + work
