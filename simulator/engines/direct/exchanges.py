"""Messages that hold their devices: which of them a device posts together and waits for together."""

from __future__ import annotations

__all__ = ["exchange_end", "holds_devices"]

from chimera.simulator.workload.workload import RECEIVE, SEND, Op, Workload


def holds_devices(semantics: str) -> bool:
    """Whether a SEND or RECV keeps its device until the message has crossed."""
    return semantics in ("rendezvous", "batched")


def exchange_end(workload: Workload, device: int, position: int, *, batched: bool) -> int:
    """One beyond the last message that is posted together with this one.

    That is this one alone, or when batched all adjacent ones of one channel.
    """
    ops = workload.ops[device]
    end = position + 1
    while (
        batched and end < len(ops) and _channel(workload, ops[end], device) == _channel(workload, ops[position], device)
    ):
        end += 1
    return end


def _channel(workload: Workload, op: Op, device: int) -> tuple[int, int] | None:
    """Peer and replica of a message: see `chimera.pipeline.soundness.batches.channel_of`."""
    if op.code not in (SEND, RECEIVE):
        return None
    message = workload.messages[op.target]
    peer = message.target if message.source == device else message.source
    return peer, workload.plan.schedule.replica_of[message.receive.microbatch]
