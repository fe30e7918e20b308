"""Where a device's iteration went: every nanosecond has one name, and they add up."""

from __future__ import annotations

__all__ = ["DeviceShares", "device_shares"]

from collections import Counter
from dataclasses import dataclass, field

from chimera.pipeline.actions import Kind
from chimera.simulator.engines.clocks import clocks
from chimera.simulator.engines.exchanges import Transport, exchange_end, holds_devices
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.workload import COMPUTE, RECEIVE, REDUCE, SEND, STEP, Message, Workload


@dataclass(slots=True)
class DeviceShares:
    """Nanoseconds of one device; all but `device` and `waited_for` add up to the iteration."""

    device: int
    compute: int = 0
    start_up: int = 0
    """until its first computation begins, dispatch and host time for messages apart"""
    wait_forward: int = 0
    """for an activation its producer had not sent yet, or, with messages that hold devices, its consumer not taken"""
    wait_backward: int = 0
    """the same for a gradient"""
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
    """nanoseconds of wait_forward, wait_backward and transfer by the device at the message's other end"""

    def named(self) -> dict[str, int]:
        """The shares by name, in the order above."""
        names = [name for name in self.__slots__ if name not in ("device", "waited_for")]
        return {name: getattr(self, name) for name in names}


def device_shares(workload: Workload, times: Times, semantics: Transport = "buffered") -> tuple[DeviceShares, ...]:
    """One per device; `times` are those of these semantics."""
    rows = clocks(workload, times, semantics)
    return tuple(_of_device(workload, times, device, row, semantics) for device, row in enumerate(rows))


def _of_device(workload: Workload, times: Times, device: int, clock: list[int], semantics: Transport) -> DeviceShares:
    shares, begun, exchanged = DeviceShares(device), False, 0
    dispatch, blocking = workload.profile.overheads.dispatch_ns, holds_devices(semantics)
    for position, (code, _, needs, target) in enumerate(workload.ops[device]):
        if code == COMPUTE:
            for number in needs:
                _take_over(workload, times, shares, number, begun)
            shares.dispatch += dispatch
            shares.compute += times.ends[device][position] - times.starts[device][position]
            begun = True
        elif code == STEP:
            shares.optimizer += times.ends[device][position] - times.starts[device][position]
            shares.synchronisation += times.starts[device][position] - (clock[position - 1] if position else 0)
        elif blocking and code in (SEND, RECEIVE) and position >= exchanged:
            exchanged = exchange_end(workload, device, position, batched=semantics == "batched")
            _exchange(workload, times, shares, range(position, exchanged), begun)
        elif code == SEND and not blocking:
            shares.messages += workload.messages[target].send_overhead_ns
    _end(workload, times, shares, clock[-1] if clock else 0)
    return shares


def _end(workload: Workload, times: Times, shares: DeviceShares, clock: int) -> None:
    """What is left behind its row; an all-reduce that outlasts everybody's rows is waited for by its members."""
    shares.framework = workload.profile.overheads.iteration_ns
    reduced = [times.reduces[op.target][1] for op in workload.ops[shares.device] if op.code == REDUCE]
    behind = max([clock, *reduced])
    shares.synchronisation += behind - clock
    shares.drain = times.end_ns - shares.framework - behind


def _take_over(workload: Workload, times: Times, shares: DeviceShares, number: int, begun: bool) -> None:
    """The wait for one message, split where it was sent, and the host time to take it over."""
    message = workload.messages[number]
    needed, sent, arrived = times.needed[number], times.sent[number], times.arrived[number]
    shares.messages += message.receive_overhead_ns
    _wait(shares, message, message.source, (needed, sent, arrived), begun)


def _exchange(workload: Workload, times: Times, shares: DeviceShares, positions: range, begun: bool) -> None:
    """The time that messages posted together held their device: for the last one's other end, then for itself."""
    ops = [workload.ops[shares.device][position] for position in positions]
    shares.messages += sum(workload.messages[op.target].send_overhead_ns for op in ops if op.code == SEND)
    last = max(ops, key=lambda op: times.arrived[op.target])
    message, number = workload.messages[last.target], last.target
    moments = (times.sent[number], times.posted[number])
    ours, theirs = moments if last.code == SEND else reversed(moments)
    peer = message.target if last.code == SEND else message.source
    _wait(shares, message, peer, (ours, theirs, times.arrived[number]), begun)


def _wait(shares: DeviceShares, message: Message, peer: int, moments: tuple[int, int, int], begun: bool) -> None:
    """From our moment on, until the peer's and until the message's arrival."""
    ours, theirs, arrived = moments
    waited = max(arrived - ours, 0)
    if not begun:
        shares.start_up += waited
        return
    alone = min(max(theirs - ours, 0), waited)
    shares.waited_for[peer] += waited
    shares.transfer += waited - alone
    if message.receive.kind is Kind.RECV_F:
        shares.wait_forward += alone
    else:
        shares.wait_backward += alone
