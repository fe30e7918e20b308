"""Messages between two ranks: half of each round trip."""

from __future__ import annotations

__all__ = ["MessageProbe", "measure_messages"]

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from chimera.calibration.measuring.probes.value import Probe
from chimera.executor.ranks.clock import Clock
from chimera.executor.ranks.context import RankContext

_WARMUP, _REPETITIONS = 2, 12


@dataclass(frozen=True, slots=True)
class MessageProbe(Probe):
    """One-way nanoseconds of messages of so many bytes."""

    size_bytes: int
    times_ns: tuple[int, ...]


def measure_messages(context: RankContext, clock: Clock, sizes: Iterable[int]) -> tuple[MessageProbe, ...]:
    """A probe a size, between ranks 0 and 1; rank 0's are those that count. Collective."""
    clock.begin()
    probes = tuple(MessageProbe(size, tuple(_round_trips(context, clock, size))) for size in sizes)
    dist.barrier()
    return probes


def _round_trips(context: RankContext, clock: Clock, size: int) -> list[int]:
    payload = torch.zeros(size, dtype=torch.uint8, device=context.device)
    times = []
    for repetition in range(_REPETITIONS + _WARMUP):
        started = clock.mark()
        if context.rank == 0:
            dist.send(payload, 1)
            dist.recv(payload, 1)
        elif context.rank == 1:
            dist.recv(payload, 0)
            dist.send(payload, 0)
        ended = clock.mark()
        clock.finish()
        if repetition >= _WARMUP:
            times.append((clock.ns(ended) - clock.ns(started)) // 2)
    return times
