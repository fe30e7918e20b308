"""Moments on the device that computes, and how clocks of other hosts relate to rank 0's."""

from __future__ import annotations

__all__ = ["CpuClock", "CudaClock", "clock_offset_ns", "make_clock"]

import time
from typing import Any, Protocol

import torch
import torch.distributed as dist

_PINGS = 20
_TRIES = 5


class Clock(Protocol):
    """Marks moments cheaply inside an iteration and tells their nanoseconds afterwards."""

    def begin(self) -> None:
        """Starts an iteration: the device is idle now."""

    def mark(self) -> Any:
        """This moment of the compute stream."""

    def finish(self) -> None:
        """Waits until everything marked has happened."""

    def ns(self, mark: Any) -> int:
        """Monotonic nanoseconds of a mark; valid after `finish`."""


class CpuClock:
    """CLOCK_MONOTONIC, which all processes of a host share."""

    def begin(self) -> None:
        """Nothing to wait for on a CPU."""

    def mark(self) -> int:
        """Now."""
        return time.monotonic_ns()

    def finish(self) -> None:
        """Nothing to wait for on a CPU."""

    def ns(self, mark: int) -> int:
        """The mark itself."""
        return mark


class CudaClock:
    """CUDA events on the current stream: no synchronisation inside the loop."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._zero: Any = None
        self._zero_ns = 0

    def begin(self) -> None:
        """Drains the device and ties its time line to the host's clock: within half of the shortest of a few tries."""
        torch.cuda.synchronize(self._device)
        shortest = 1 << 62
        for _ in range(_TRIES):
            before, event = time.monotonic_ns(), self.mark()
            event.synchronize()
            took = time.monotonic_ns() - before
            if took < shortest:
                shortest, self._zero, self._zero_ns = took, event, before + took // 2

    def mark(self) -> Any:
        """An event at this point of the stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def finish(self) -> None:
        """Waits for the device."""
        torch.cuda.synchronize(self._device)

    def ns(self, mark: Any) -> int:
        """Elapsed device time since `begin`, on the host's clock; resolution about 0.5 us."""
        return self._zero_ns + round(float(self._zero.elapsed_time(mark)) * 1e6)


def make_clock(device: torch.device) -> Clock:
    """The clock that suits a device."""
    return CudaClock(device) if device.type == "cuda" else CpuClock()


def clock_offset_ns(host: str) -> int:
    """What to add to this rank's monotonic clock to get rank 0's; 0 on rank 0's own host. Collective.

    From the ping-pong of the shortest round trip, assumed symmetric: the error is at most half of it.
    """
    hosts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(hosts, host)
    rank = dist.get_rank()
    offset = 0
    for other in range(1, len(hosts)):
        if hosts[other] == hosts[0]:
            continue
        if rank == 0:
            _answer(other)
        elif rank == other:
            offset = _ask()
    return offset


def _answer(other: int) -> None:
    stamp = torch.zeros(1, dtype=torch.int64)
    for _ in range(_PINGS):
        dist.recv(stamp, other)
        stamp[0] = time.monotonic_ns()
        dist.send(stamp, other)


def _ask() -> int:
    stamp = torch.zeros(1, dtype=torch.int64)
    best = (1 << 62, 0)
    for _ in range(_PINGS):
        sent = time.monotonic_ns()
        dist.send(stamp, 0)
        dist.recv(stamp, 0)
        back = time.monotonic_ns()
        best = min(best, (back - sent, int(stamp[0]) - (sent + back) // 2))
    return best[1]
