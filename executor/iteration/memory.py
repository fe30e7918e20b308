"""Exact tensor memory: every allocation and release of a piece of work, in order."""

from __future__ import annotations

__all__ = ["Footprint", "changes", "footprint", "held_bytes"]

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from torch import Tensor
from torch.profiler import ProfilerActivity, profile


class Footprint(NamedTuple):
    """Bytes relative to the start: the highest level reached and the level left at the end."""

    peak_bytes: int
    net_bytes: int


def footprint(work: Callable[[], object]) -> Footprint:
    """Runs `work` and reports what the CPU allocator did meanwhile, on whichever thread.

    Uses the profiler's allocator events, so it slows the work down: never time what it watches.
    torch reports the release of a block only if its allocation was watched too, be it in an earlier
    footprint: what was there before any watching does not lower the level when it goes.
    The result of `work` is kept alive until the level is read.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        kept = work()
    level = peak = 0
    for _, change in changes(watched):
        level += change
        peak = max(peak, level)
    del kept
    return Footprint(peak, level)


def held_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of the distinct storages behind `tensors`."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if t is not None}
    return sum(storages.values())


def changes(watched: Any) -> list[tuple[int, int]]:
    """(moment, bytes) of every allocation and release, in order."""
    moments = [
        (event.start_ns(), event.nbytes())
        for event in watched.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    return sorted(moments, key=lambda change: change[0])
