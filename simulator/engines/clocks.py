"""When a device is done with each position of its row, read from the times of an engine."""

from __future__ import annotations

__all__ = ["clocks"]

from chimera.simulator.engines.exchanges import Transport, exchange_end, holds_devices
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.workload import COMPUTE, REDUCE, SEND, STEP, Workload


def clocks(workload: Workload, times: Times, semantics: Transport = "buffered") -> list[list[int]]:
    """Nanoseconds per device and position; launching an all-reduce takes no time.

    A message is done with when it is posted, or, on transports that hold devices, when all that were
    posted together have arrived.
    """
    row = _held if holds_devices(semantics) else _posted
    return [row(workload, times, device, semantics) for device in range(len(workload.ops))]


def _posted(workload: Workload, times: Times, device: int, _semantics: Transport) -> list[int]:
    found: list[int] = []
    clock = 0
    for (code, _, _, target), end in zip(workload.ops[device], times.ends[device], strict=True):
        if code in (COMPUTE, STEP):
            clock = end
        elif code != REDUCE:
            clock = times.sent[target] if code == SEND else times.posted[target]
        found.append(clock)
    return found


def _held(workload: Workload, times: Times, device: int, semantics: Transport) -> list[int]:
    ops, found = workload.ops[device], [0] * len(workload.ops[device])
    clock = position = 0
    while position < len(ops):
        code, end = ops[position].code, position + 1
        if code in (COMPUTE, STEP):
            clock = times.ends[device][position]
        elif code != REDUCE:
            end = exchange_end(workload, device, position, batched=semantics == "batched")
            clock = max(times.arrived[op.target] for op in ops[position:end])
        found[position:end] = [clock] * (end - position)
        position = end
    return found
