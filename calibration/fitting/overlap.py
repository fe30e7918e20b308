"""What an all-reduce and a computation cost each other while they run at the same time.

Every rank times three things in turns: an all-reduce alone, some computation alone, and the
computation with the all-reduce under way. The computation is long enough to outlast it.
"""

from __future__ import annotations

__all__ = ["Overlapped", "measure_overlap", "slowdowns"]

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import ceil
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

_REPETITIONS, _WARMUP = 12, 2
_OUTLAST = 2.5
_LEAST_PIECES, _MOST_PIECES = 4, 400


class Overlapped(NamedTuple):
    """One repetition on one rank, in nanoseconds; of the last two both began together."""

    reduce_alone_ns: int
    compute_alone_ns: int
    reduce_ns: int
    compute_ns: int


def measure_overlap(piece: Callable[[], object], group: Any, size_bytes: int) -> list[Overlapped]:
    """Repetitions of the three measurements on this rank; `piece` is a short computation. Collective.

    A rank of no group (None) computes beside the others and has nothing to tell.
    """
    payload = torch.zeros(max(size_bytes // 4, 1))
    found = []
    for repetition in range(_WARMUP + _REPETITIONS):
        reduce_alone = _timed(lambda: group is not None and dist.all_reduce(payload, group=group))
        piece_ns = max(_timed(piece), 1)
        pieces = min(max(ceil(_OUTLAST * reduce_alone / piece_ns), _LEAST_PIECES), _MOST_PIECES)
        compute_alone = _timed(partial(_several, piece, pieces))
        together = _together(payload, group, piece, pieces)
        if repetition >= _WARMUP and group is not None:
            found.append(Overlapped(reduce_alone, compute_alone, *together))
    return found


def _several(piece: Callable[[], object], pieces: int) -> None:
    for _ in range(pieces):
        piece()


def _timed(work: Callable[[], object]) -> int:
    """Nanoseconds of some work that all ranks begin together."""
    dist.barrier()
    started = time.monotonic_ns()
    work()
    return time.monotonic_ns() - started


def _together(payload: torch.Tensor, group: Any, piece: Callable[[], object], pieces: int) -> tuple[int, int]:
    """Nanoseconds from the common start to the end of the all-reduce and to the end of the computation."""
    ends: list[int] = []
    dist.barrier()
    started = time.monotonic_ns()
    work = None if group is None else dist.all_reduce(payload, group=group, async_op=True)
    if work is not None:
        work.get_future().add_done_callback(lambda _: ends.append(time.monotonic_ns()))
    _several(piece, pieces)
    computed = time.monotonic_ns()
    if work is not None:
        work.wait()
    return (ends[0] if ends else time.monotonic_ns()) - started, computed - started


def slowdowns(probes: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """(of computation, of all-reduces) while both run, from what the ranks measured; 1 where nothing was.

    While the all-reduce of Wr alone takes Tr, a computation of Wc alone that ends at Tc > Tr has done
    Wc - (Tc - Tr) of its work: it was slower by Tr over that, the all-reduce by Tr / Wr. Medians over all
    ranks and repetitions in which the computation did outlast the all-reduce; never below 1.
    """
    seen = [Overlapped(*row) for probe in probes for row in probe.get("overlap", ())]
    lasting = [one for one in seen if one.compute_ns > one.reduce_ns and _done_meanwhile(one) > 0]
    if not lasting:
        return 1.0, 1.0
    compute = median(one.reduce_ns / _done_meanwhile(one) for one in lasting)
    reduce = median(one.reduce_ns / max(one.reduce_alone_ns, 1) for one in lasting)
    return max(compute, 1.0), max(reduce, 1.0)


def _done_meanwhile(one: Overlapped) -> int:
    """Work of the computation, in nanoseconds alone, that was done while the all-reduce was under way."""
    return one.compute_alone_ns - (one.compute_ns - one.reduce_ns)
