"""What a transport makes wait: which messages hold their devices, and which a device posts together and waits for together.

Semantics are those of `chimera.pipeline.soundness.deadlock`, and one more. Buffered: a SEND costs its overhead and
goes on, a computation waits for its messages. Rendezvous: a SEND or RECV holds its
device until the message has crossed the link, which starts when both stand there; batched: the same
for a run of adjacent ones of one channel (peer and replica) together. Stream: posting holds nobody, but every device's
messages are served in the order in which it posted them, as asynchronous sends and receives of one NCCL communicator
are: a receive at the head of its stream holds up every message posted behind it (head-of-line blocking).
"""

from __future__ import annotations

__all__ = ["TRANSPORTS", "Transport", "exchange_end", "holds_devices"]

from typing import Literal, get_args

from chimera.pipeline.soundness.replay import Semantics
from chimera.simulator.workload.workload import RECEIVE, SEND, Op, Workload

Transport = Literal[Semantics, "stream"]
TRANSPORTS: tuple[Transport, ...] = (*get_args(Semantics), "stream")


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
