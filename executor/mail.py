"""Messages of one rank: receives posted, sends kept alive, and when each thing happened.

One FIFO an ordered pair of devices, no tags: the plan guarantees that receives are posted in the
order of the sends. `arrived` is when waiting for a message returned: gloo tells no more. For a
message the consumer had to wait for that is its arrival; for one that was already there it is the
moment of looking, an upper bound, so `arrived - needed` is the time that was really lost.
"""

from __future__ import annotations

__all__ = ["Mail", "Received"]

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from executor.clock import Clock
from pipeline.actions import Action


class Received(NamedTuple):
    """One message taken: marks of the clock for posted, arrived and needed."""

    receive: Action
    source: int
    size_bytes: int
    posted: Any
    arrived: Any
    needed: Any


class Mail:
    """Point-to-point messages of a rank; `base` is the global rank of device 0 of its pipeline copy."""

    def __init__(self, clock: Clock, base: int, device: torch.device, dtype: torch.dtype, group: Any = None) -> None:
        self._clock, self._base, self._device, self._dtype, self._group = clock, base, device, dtype, group
        self._posted: dict[Action, tuple[Tensor, Any, int, Any]] = {}
        self._unfinished: dict[Action, tuple[Any, Tensor]] = {}
        self.received: list[Received] = []
        self.sent: list[tuple[Action, Any]] = []
        """(the receive action of the message, when it was handed over)"""

    def post(self, receive: Action, source: int, shape: tuple[int, ...]) -> None:
        """Posts a receive of `shape` from device `source`."""
        tensor = torch.empty(shape, dtype=self._dtype, device=self._device)
        handle = dist.irecv(tensor, self._base + source, group=self._group)
        self._posted[receive] = (tensor, handle, source, self._clock.mark())

    def take(self, receive: Action) -> Tensor:
        """The tensor of a posted receive; waits for it."""
        tensor, handle, source, posted = self._posted.pop(receive)
        needed = self._clock.mark()
        handle.wait()
        self.received.append(Received(receive, source, tensor.nbytes, posted, self._clock.mark(), needed))
        return tensor

    def send(self, receive: Action, target: int, tensor: Tensor) -> None:
        """Hands a tensor over without waiting; it is kept alive until `release` or `finish`.

        `receive` names the message: the peer's receive action.
        """
        tensor = tensor.contiguous()
        self.sent.append((receive, self._clock.mark()))
        self._unfinished[receive] = (dist.isend(tensor, self._base + target, group=self._group), tensor)

    def release(self, receive: Action) -> None:
        """Lets go of a message of ours that is known to be delivered: no wait is long here."""
        handle, _ = self._unfinished.pop(receive)
        handle.wait()

    def finish(self, note: Callable[[str], None]) -> None:
        """Waits for every send that is left."""
        for receive, (handle, _) in self._unfinished.items():
            note(f"waiting for a peer's {receive}")
            handle.wait()
        self._unfinished.clear()
