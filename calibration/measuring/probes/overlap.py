"""An all-reduce and a computation, alone and at the same time.

Every rank times three things in turns: an all-reduce alone, some computation alone, and the
computation with the all-reduce under way. The computation is long enough to outlast it.
"""

from __future__ import annotations

__all__ = ["OverlapProbe", "measure_overlap"]

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import torch
import torch.distributed as dist

from chimera.calibration.measuring.probes.value import Probe
from chimera.executor.ranks.clock import Clock

_REPETITIONS, _WARMUP = 12, 2
_OUTLAST = 2.5
_LEAST_PIECES, _MOST_PIECES = 4, 400
_ELEMENT_BYTES = 4


@dataclass(frozen=True, slots=True)
class OverlapProbe(Probe):
    """One repetition on one rank, in nanoseconds; of the last two both began together."""

    reduce_alone_ns: int
    compute_alone_ns: int
    reduce_ns: int
    compute_ns: int


def measure_overlap(
    clock: Clock, piece: Callable[[], object], group: Any, size_bytes: int, device: torch.device
) -> tuple[OverlapProbe, ...]:
    """Repetitions of the three measurements on this rank; `piece` is a short computation. Collective.

    A rank of no group (None) computes beside the others and has nothing to tell.
    """
    payload = torch.zeros(max(size_bytes // _ELEMENT_BYTES, 1), device=device)
    probes = []
    clock.begin()
    for repetition in range(_WARMUP + _REPETITIONS):
        reduce_alone = _time(clock, lambda: group is not None and dist.all_reduce(payload, group=group))
        piece_ns = max(_time(clock, piece), 1)
        pieces = min(max(ceil(_OUTLAST * reduce_alone / piece_ns), _LEAST_PIECES), _MOST_PIECES)
        compute_alone = _time(clock, partial(_repeat, piece, pieces))
        together = _time_together(clock, payload, group, partial(_repeat, piece, pieces))
        if repetition >= _WARMUP and group is not None:
            probes.append(OverlapProbe(reduce_alone, compute_alone, *together))
    return tuple(probes)


def _repeat(piece: Callable[[], object], pieces: int) -> None:
    for _ in range(pieces):
        piece()


def _time(clock: Clock, work: Callable[[], object]) -> int:
    """Nanoseconds of some work that all ranks begin together."""
    dist.barrier()
    started = clock.mark()
    work()
    ended = clock.mark()
    clock.finish()
    return clock.ns(ended) - clock.ns(started)


def _time_together(clock: Clock, payload: torch.Tensor, group: Any, work: Callable[[], object]) -> tuple[int, int]:
    """Nanoseconds from the common start to the end of the all-reduce and to the end of the computation."""
    ends: list[Any] = []
    dist.barrier()
    started = clock.mark()
    reduction = None if group is None else dist.all_reduce(payload, group=group, async_op=True)
    if reduction is not None:
        reduction.get_future().add_done_callback(lambda _: ends.append(clock.mark()))
    work()
    computed = clock.mark()
    if reduction is not None:
        reduction.wait()
    last = clock.mark()
    clock.finish()
    return clock.ns(ends[0] if ends else last) - clock.ns(started), clock.ns(computed) - clock.ns(started)
