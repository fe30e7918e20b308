"""All-reduces over groups of ranks, all groups at once, as in a run."""

from __future__ import annotations

__all__ = ["AllReduceProbe", "measure_all_reduces"]

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from chimera.calibration.measuring.probes.groups import join_group
from chimera.calibration.measuring.probes.value import Probe
from chimera.executor.ranks.clock import Clock
from chimera.executor.ranks.context import RankContext

_WARMUP, _REPETITIONS = 2, 8
_ELEMENT_BYTES = 4


@dataclass(frozen=True, slots=True)
class AllReduceProbe(Probe):
    """Nanoseconds of all-reduces of so many bytes over so many ranks; none on a rank that is in no group."""

    ranks: int
    size_bytes: int
    times_ns: tuple[int, ...]


def measure_all_reduces(
    context: RankContext, clock: Clock, ranks: int, sizes: Iterable[int]
) -> tuple[AllReduceProbe, ...]:
    """A probe a size over groups of `ranks`. Collective."""
    group = join_group(context, ranks)
    clock.begin()
    return tuple(AllReduceProbe(ranks, size, tuple(_repetitions(context, clock, group, size))) for size in sizes)


def _repetitions(context: RankContext, clock: Clock, group: Any, size: int) -> list[int]:
    payload = torch.zeros(max(size // _ELEMENT_BYTES, 1), device=context.device)
    times = []
    for repetition in range(_REPETITIONS + _WARMUP):
        dist.barrier()
        if group is None:
            continue
        started = clock.mark()
        dist.all_reduce(payload, group=group)
        ended = clock.mark()
        clock.finish()
        if repetition >= _WARMUP:
            times.append(clock.ns(ended) - clock.ns(started))
    return times
