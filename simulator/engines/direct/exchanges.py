"""Messages that hold their devices: which of them a device posts together and waits for together."""

from __future__ import annotations

__all__ = ["exchange_end", "holds_devices"]

from chimera.pipeline.rules import batch_end, channel_of
from chimera.simulator.workload.workload import RECEIVE, SEND, Workload


def holds_devices(semantics: str) -> bool:
    """Whether a SEND or RECV keeps its device until the message has crossed."""
    return semantics in ("rendezvous", "batched")


def exchange_end(workload: Workload, device: int, position: int, *, batched: bool) -> int:
    """One beyond the last message that is posted together with this one.

    That is this one alone, or when batched all adjacent ones of one channel.
    """
    ops, schedule = workload.ops[device], workload.plan.schedule

    def _channel(place: int) -> tuple[int, int] | None:
        return channel_of(ops[place].action, schedule) if ops[place].code in (SEND, RECEIVE) else None

    return batch_end(position, len(ops), _channel) if batched else position + 1
