"""What a transport makes wait: which messages hold their devices, and which a device posts and awaits together.

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

from chimera.pipeline.rules import batch_end, channel_of
from chimera.pipeline.soundness.replay import Semantics
from chimera.simulator.workload.workload import RECEIVE, SEND, Workload

Transport = Literal[Semantics, "stream"]
TRANSPORTS: tuple[Transport, ...] = (*get_args(Semantics), "stream")


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
