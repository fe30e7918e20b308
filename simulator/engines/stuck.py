"""What to say when nothing can happen any more: which action of which device waits for what."""

from __future__ import annotations

__all__ = ["deadlock"]

from collections.abc import Callable, Sequence

from chimera.pipeline.errors import DeadlockError
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.workload import COMPUTE, RECEIVE, SEND, Op, Workload


def deadlock(
    workload: Workload,
    times: Times,
    position: Sequence[int],
    launched: Sequence[int],
    head: Callable[[int], int | None] | None,
) -> DeadlockError:
    """Of devices that stand at `position`, some of them before the end of their rows.

    `launched` counts the members that have launched each all-reduce; `head` says which message holds up a
    device's stream, where there are streams.
    """
    stands = enumerate(zip(workload.ops, position, strict=True))
    stuck = [(device, row[place]) for device, (row, place) in stands if place < len(row)]
    waits = []
    for device, op in stuck:
        reason = _reason(op, workload, times, launched, head)
        waits.append(f"device {device}, position {position[device]}: {op.action} waits for {reason}")
    others = "".join(f"; {wait}" for wait in waits[1:])
    remedy = "`chimera check` names the circle of waiting devices"
    if head is not None:
        remedy = "post messages in one order on all devices, such as the order of their sends"
    first = stuck[0][0]
    return DeadlockError(
        waits[0], f"nothing can happen any more{others}", remedy, device=first, position=position[first]
    )


def _reason(
    op: Op, workload: Workload, times: Times, launched: Sequence[int], head: Callable[[int], int | None] | None
) -> str:
    if op.code is SEND:
        return f"device {workload.messages[op.target].target} to receive it"
    if op.code is RECEIVE:
        return f"device {workload.messages[op.target].source} to send it"
    if op.code is COMPUTE:
        number = next(n for n in op.needs if n < 0 or times.arrived[n] < 0)
        if number < 0:
            return f"{workload.missing[number]}, which its device has not computed"
        message = workload.messages[number]
        return f"{message.receive} from device {message.source}{_held_up(message.source, number, workload, head)}"
    collective = workload.collectives[op.target]
    absent = len(collective.members) - launched[op.target]
    return f"{collective.action}, which {absent} of devices {list(collective.members)} have not launched"


def _held_up(source: int, number: int, workload: Workload, head: Callable[[int], int | None] | None) -> str:
    """What stands before a message on its sender's stream."""
    first = None if head is None else head(source)
    if first is None or first == number:
        return ""
    return f", whose stream is held up by {workload.messages[first].receive}"
