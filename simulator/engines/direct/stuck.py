"""What to say when nothing can happen any more: which action of which device waits for what."""

from __future__ import annotations

__all__ = ["deadlock"]

from collections.abc import Sequence

from chimera.pipeline.errors import DeadlockError
from chimera.simulator.engines.direct.all_reduces import AllReduces
from chimera.simulator.engines.direct.streams import Streams
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.workload import COMPUTE, RECEIVE, SEND, Op, Workload


def deadlock(
    workload: Workload, times: Times, position: Sequence[int], all_reduces: AllReduces, streams: Streams | None
) -> DeadlockError:
    """Of devices that stand at `position`, some of them before the end of their rows."""
    stands = enumerate(zip(workload.ops, position, strict=True))
    stuck = [(device, row[place]) for device, (row, place) in stands if place < len(row)]
    waits = []
    for device, op in stuck:
        reason = _reason(op, workload, times, all_reduces, streams)
        waits.append(f"device {device}, position {position[device]}: {op.action} waits for {reason}")
    others = "".join(f"; {wait}" for wait in waits[1:])
    remedy = "`chimera check` names the circle of waiting devices"
    if streams is not None:
        remedy = "post messages in one order on all devices, such as the order of their sends"
    first = stuck[0][0]
    return DeadlockError(
        waits[0], f"nothing can happen any more{others}", remedy, device=first, position=position[first]
    )


def _reason(op: Op, workload: Workload, times: Times, all_reduces: AllReduces, streams: Streams | None) -> str:
    if op.code is SEND:
        return f"device {workload.messages[op.target].target} to receive it"
    if op.code is RECEIVE:
        return f"device {workload.messages[op.target].source} to send it"
    if op.code is COMPUTE:
        number = next(n for n in op.needs if n < 0 or times.arrived[n] < 0)
        if number < 0:
            return f"{workload.missing[number]}, which its device has not computed"
        message = workload.messages[number]
        return f"{message.receive} from device {message.source}{_held_up(message.source, number, workload, streams)}"
    collective = workload.collectives[op.target]
    absent = len(collective.members) - all_reduces.launched[op.target]
    return f"{collective.action}, which {absent} of devices {list(collective.members)} have not launched"


def _held_up(source: int, number: int, workload: Workload, streams: Streams | None) -> str:
    """What stands before a message on its sender's stream."""
    head = None if streams is None else streams.head(source)
    if head is None or head == number:
        return ""
    return f", whose stream is held up by {workload.messages[head].receive}"
