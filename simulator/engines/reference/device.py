"""The reference engine: every device is a SimPy process that does what its row of the plan says, action by action.

Its clock is the environment's. It waits for messages, spends host time, computes, posts, launches all-reduces
and waits for them. What crosses links stands in `transfers`, all-reduces in `all_reduces`, work that slows other work
down in `sharing`. When no event is left while a device has actions left, the devices wait for one another for ever,
and that is reported. Time is integer nanoseconds. This engine is the one that is plainly right;
`chimera.simulator.engines.direct`, `compiled` and `large` answer sooner and say the same to the nanosecond.
"""

from __future__ import annotations

__all__ = ["run"]

from collections.abc import Generator, Sequence
from typing import Any

import simpy

from chimera.simulator.engines.exchanges import Transport, exchange_end, holds_devices
from chimera.simulator.engines.reference.all_reduces import AllReduces
from chimera.simulator.engines.reference.links import Links
from chimera.simulator.engines.reference.moment import Moment
from chimera.simulator.engines.reference.sharing import Sharing
from chimera.simulator.engines.reference.transfers import Transfers
from chimera.simulator.engines.stuck import deadlock
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.sharing import sharing_reason
from chimera.simulator.workload.workload import COMPUTE, REDUCE, SEND, STEP, Op, Workload

Steps = Generator[simpy.Event, Any, None]


def run(workload: Workload, work_ns: list[list[int]] | None = None, semantics: Transport = "buffered") -> Times:
    """Simulates one iteration; `work_ns[device][position]` replaces the workload's own durations.

    Raises DeadlockError naming which action of which device waits for what.
    """
    return _Iteration(workload, workload.work_ns if work_ns is None else work_ns, semantics).result()


class _Iteration:
    """One iteration: the devices, and what they share."""

    def __init__(self, workload: Workload, work_ns: list[list[int]], semantics: Transport) -> None:
        self.env = simpy.Environment(initial_time=0)
        self.workload, self.work_ns, self.semantics = workload, work_ns, semantics
        self.times = Times.of(workload)
        self.position = [0] * len(workload.ops)
        self.done = [0] * len(workload.ops)
        moment = Moment(self.env)
        links = Links(self.env, workload.network, moment)
        self.sharing = Sharing(self.env, workload) if sharing_reason(workload) else None
        self.transfers = Transfers(self.env, workload, self.times, links, semantics)
        self.all_reduces = AllReduces(
            self.env, workload, self.times, links, moment, self.sharing, in_order=semantics != "buffered"
        )

    def result(self) -> Times:
        """Runs until nothing can happen any more."""
        for device in range(len(self.workload.ops)):
            self.env.process(self._device(device))
        self.env.run()
        if any(place < len(ops) for place, ops in zip(self.position, self.workload.ops, strict=True)):
            head = self.transfers.head if self.semantics == "stream" else None
            raise deadlock(self.workload, self.times, self.position, self.all_reduces.launched, head)
        reduced = [end for _, end in self.times.reduces]
        self.times.end_ns = max([*self.done, *reduced]) + self.workload.profile.overheads.iteration_ns
        return self.times

    @property
    def now(self) -> int:
        """Nanoseconds since the start."""
        return int(self.env.now)

    def _device(self, device: int) -> Steps:
        """One device's process."""
        ops = self.workload.ops[device]
        while (position := self.position[device]) < len(ops):
            op, done = ops[position], position + 1
            if op.code == COMPUTE:
                yield from self._compute(device, position, op)
            elif op.code == REDUCE:
                self.all_reduces.launch(device, op.target)
            elif op.code == STEP:
                yield from self._step(device, position, op)
            elif holds_devices(self.semantics):
                done = exchange_end(self.workload, device, position, batched=self.semantics == "batched")
                yield from self._exchange(ops[position:done])
            else:
                yield from self._post(op)
            self.position[device] = done
        self.done[device] = self.now

    def _compute(self, device: int, position: int, op: Op) -> Steps:
        """A computation starts when its messages have arrived and host time has been paid for them and for itself."""
        for number in op.needs:
            if number < 0:
                yield self.env.event()  # nobody will ever send it
            self.times.needed[number] = self.now
            yield self.transfers.arrived[number]
            yield self.env.timeout(self.workload.messages[number].receive_overhead_ns)
        yield self.env.timeout(self.workload.profile.overheads.dispatch_ns)
        self.times.starts[device][position] = self.now
        work = self.work_ns[device][position]
        if self.sharing is None:
            yield self.env.timeout(work)
        else:
            yield self.sharing.compute(device, work)
        self.times.ends[device][position] = self.now

    def _post(self, op: Op) -> Steps:
        """A message is posted, which holds nobody; to send it costs host time."""
        if op.code == SEND:
            yield self.env.timeout(self.workload.messages[op.target].send_overhead_ns)
        self.transfers.post(op)

    def _exchange(self, ops: Sequence[Op]) -> Steps:
        """Messages are posted together, and hold the device until all of them have crossed."""
        for op in ops:
            if op.code == SEND:
                yield self.env.timeout(self.workload.messages[op.target].send_overhead_ns)
        for op in ops:
            self.transfers.post(op)
        yield self.env.all_of([self.transfers.arrived[op.target] for op in ops])

    def _step(self, device: int, position: int, op: Op) -> Steps:
        """The optimizer step, once the gradients are there."""
        if op.target >= 0:
            yield self.all_reduces.finished[op.target]
        self.times.starts[device][position] = self.now
        yield self.env.timeout(self.work_ns[device][position])
        self.times.ends[device][position] = self.now
