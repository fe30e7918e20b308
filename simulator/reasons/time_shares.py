"""Where a device's iteration went: every nanosecond has one name, and they add up."""

from __future__ import annotations

__all__ = ["DeviceShares", "device_shares"]

from collections import Counter
from dataclasses import dataclass, field

from pipeline.actions import Kind
from simulator.reasons.critical_path import clock_after
from simulator.times import Times
from simulator.workload import COMPUTE, REDUCE, SEND, STEP, Workload


@dataclass(slots=True)
class DeviceShares:
    """Nanoseconds of one device; all but `device` and `waited_for` add up to the iteration."""

    device: int
    compute: int = 0
    start_up: int = 0
    """until its first computation begins, dispatch and host time for messages apart"""
    wait_forward: int = 0
    """for an activation its producer had not sent yet"""
    wait_backward: int = 0
    """for a gradient its producer had not sent yet"""
    transfer: int = 0
    """for a message under way or queueing"""
    messages: int = 0
    """host time to send and to take over messages"""
    dispatch: int = 0
    synchronisation: int = 0
    """for an all-reduce"""
    optimizer: int = 0
    drain: int = 0
    """its row is done, others are not"""
    framework: int = 0
    waited_for: Counter[int] = field(default_factory=Counter)
    """nanoseconds of wait_forward, wait_backward and transfer by the device that was to send"""

    def named(self) -> dict[str, int]:
        """The shares by name, in the order above."""
        names = [name for name in self.__slots__ if name not in ("device", "waited_for")]
        return {name: getattr(self, name) for name in names}


def device_shares(workload: Workload, times: Times) -> tuple[DeviceShares, ...]:
    """One per device; messages are buffered."""
    return tuple(_of_device(workload, times, device) for device in range(len(workload.ops)))


def _of_device(workload: Workload, times: Times, device: int) -> DeviceShares:
    shares, clock, begun = DeviceShares(device), 0, False
    dispatch = workload.profile.overheads.dispatch_ns
    for position, (code, _, needs, target) in enumerate(workload.ops[device]):
        if code == COMPUTE:
            for number in needs:
                _take_over(workload, times, shares, number, begun)
            shares.dispatch += dispatch
            shares.compute += times.ends[device][position] - times.starts[device][position]
            begun = True
        elif code == SEND:
            shares.messages += workload.messages[target].send_overhead_ns
        elif code == STEP:
            shares.optimizer += times.ends[device][position] - times.starts[device][position]
            shares.synchronisation += times.starts[device][position] - clock
        if code != REDUCE:
            clock = clock_after(workload, times, device, position)
    shares.framework = workload.profile.overheads.iteration_ns
    end = times.end_ns - shares.framework
    # An all-reduce that outlasts everybody's rows is waited for by its members.
    reduced = [times.reduces[op.target][1] for op in workload.ops[device] if op.code == REDUCE]
    behind = max([clock, *reduced])
    shares.synchronisation += behind - clock
    shares.drain = end - behind
    return shares


def _take_over(workload: Workload, times: Times, shares: DeviceShares, number: int, begun: bool) -> None:
    """The wait for one message, split where it was sent, and the host time to take it over."""
    message = workload.messages[number]
    needed, sent, arrived = times.needed[number], times.sent[number], times.arrived[number]
    shares.messages += message.receive_overhead_ns
    waited = max(arrived - needed, 0)
    if not begun:
        shares.start_up += waited
        return
    unsent = min(max(sent - needed, 0), waited)
    shares.waited_for[message.source] += waited
    shares.transfer += waited - unsent
    if message.receive.kind is Kind.RECV_F:
        shares.wait_forward += unsent
    else:
        shares.wait_backward += unsent
