"""Messages of one rank: receives posted, sends kept alive, and when each thing happened.

One FIFO an ordered pair of devices, no tags: the plan guarantees that receives are posted in the
order of the sends. `arrived` is when waiting for a message returned: gloo tells no more. For a
message the consumer had to wait for that is its arrival; for one that was already there it is the
moment of looking, an upper bound, so `arrived - needed` is the time that was really lost.
"""

from __future__ import annotations

__all__ = ["Handed", "Mail", "Received"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from chimera.executor.iteration.background import let_communication_run
from chimera.executor.ranks.clock import Clock
from chimera.pipeline.actions import Action


class Received(NamedTuple):
    """One message taken: marks of the clock for posted, arrived and needed."""

    receive: Action
    source: int
    size_bytes: int
    posted: Any
    arrived: Any
    needed: Any


class Handed(NamedTuple):
    """One end of a message as it was handed to torch: `peer` is a global rank, `batch` counts the calls."""

    receive: Action
    sending: bool
    peer: int
    size_bytes: int
    batch: int


@dataclass(slots=True)
class _Message:
    """One end of a message on its way; `work` is None before it is posted and once it was waited for."""

    receive: Action
    sending: bool
    tensor: Tensor
    peer: int
    group: Any
    posted: Any = None
    work: Any = None

    def wait(self) -> None:
        """Waits for this end; a second wait for the same gloo work would never return."""
        work, self.work = self.work, None
        if work is not None:
            work.wait()


class Mail:
    """Point-to-point messages of a rank; `ranks[device]` are those of its own copy of the pipeline.

    A message travels in the process `group` that it is given, None being torch's own of all ranks;
    both of its ends name the same one. With `batched`, what is posted and sent goes out with the
    next `flush`, as one `batch_isend_irecv`. On NCCL, batches of one communicator follow one
    another, and those of several may have to; elsewhere every batch waits here until the one before
    it is served, whatever its group: an order that is safe here is safe there.
    """

    def __init__(
        self, clock: Clock, ranks: Sequence[int], device: torch.device, dtype: torch.dtype, *, batched: bool = False
    ) -> None:
        self._clock, self._ranks, self._device, self._dtype = clock, ranks, device, dtype
        self._batched, self._batches = batched, 0
        self._batch: list[_Message] = []
        self._before: list[_Message] = []
        self._posted: dict[Action, _Message] = {}
        self._unfinished: dict[Action, _Message] = {}
        self.received: list[Received] = []
        self.sent: list[tuple[Action, Any]] = []
        """(the receive action of the message, when it was handed over)"""
        self.handed: list[Handed] | None = None
        """a list here is filled with everything that is handed to torch, in order"""

    def post(self, receive: Action, source: int, shape: tuple[int, ...], group: Any = None) -> None:
        """Posts a receive of `shape` from device `source`."""
        tensor = torch.empty(shape, dtype=self._dtype, device=self._device)
        self._posted[receive] = message = _Message(receive, False, tensor, self._ranks[source], group)
        self._hand(message)
        message.posted = self._clock.mark()

    def take(self, receive: Action) -> Tensor:
        """The tensor of a posted receive; waits for it."""
        message = self._posted.pop(receive)
        needed = self._clock.mark()
        message.wait()
        source, size = self._ranks.index(message.peer), message.tensor.nbytes
        self.received.append(Received(receive, source, size, message.posted, self._clock.mark(), needed))
        return message.tensor

    def send(self, receive: Action, target: int, tensor: Tensor, group: Any = None) -> None:
        """Hands a tensor over without waiting; it is kept alive until `release` or `finish`.

        `receive` names the message: the peer's receive action.
        """
        self.sent.append((receive, self._clock.mark()))
        self._unfinished[receive] = message = _Message(receive, True, tensor.contiguous(), self._ranks[target], group)
        self._hand(message)

    def flush(self) -> None:
        """Posts what was handed over since the last call, in that order, as one batch."""
        if self._device.type != "cuda":
            for message in self._before:
                message.wait()
        operations = [
            dist.P2POp(dist.isend if message.sending else dist.irecv, message.tensor, message.peer, message.group)
            for message in self._batch
        ]
        works = dist.batch_isend_irecv(operations)
        shared = len(works) < len(operations)  # NCCL answers with one work for the whole batch
        for index, message in enumerate(self._batch):
            message.work = works[0 if shared else index]
        self._before, self._batch = [] if self._device.type == "cuda" else self._batch, []
        self._batches += 1

    def release(self, receive: Action) -> None:
        """Lets go of a message of ours that is known to be delivered: no wait is long here."""
        self._unfinished.pop(receive).wait()

    def finish(self, note: Callable[[str], None]) -> None:
        """Waits for every send that is left."""
        for receive, message in self._unfinished.items():
            note(f"waiting for a peer's {receive}")
            message.wait()
        self._unfinished.clear()
        self._before.clear()

    def _hand(self, message: _Message) -> None:
        if self.handed is not None:
            self.handed.append(
                Handed(message.receive, message.sending, message.peer, message.tensor.nbytes, self._batches)
            )
        if self._batched:
            self._batch.append(message)
            return
        post = dist.isend if message.sending else dist.irecv
        let_communication_run()  # the peer's readiness may be known here already: then nothing is put off
        message.work = post(message.tensor, message.peer, group=message.group)
        let_communication_run()
        self._batches += 1
