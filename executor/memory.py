"""Exact tensor memory on the CPU: every allocation and release of a piece of work, in order."""

from __future__ import annotations

__all__ = ["Footprint", "footprint", "held_bytes"]

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


class Footprint(NamedTuple):
    """Bytes relative to the start: the highest level reached and the level left at the end."""

    peak_bytes: int
    net_bytes: int


def footprint(work: Callable[[], object]) -> Footprint:
    """Runs `work` and reports what the CPU allocator did meanwhile, on whichever thread.

    Uses the profiler's allocator events, so it slows the work down: never time what it watches.
    The result of `work` is kept alive until the level is read.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        kept = work()
    events = [
        (event.start_ns(), event.nbytes())
        for event in watched.profiler.kineto_results.events()  # type: ignore[union-attr]
        if event.name() == "[memory]"
    ]
    level = peak = 0
    for _, change in sorted(events, key=lambda event: event[0]):
        level += change
        peak = max(peak, level)
    del kept
    return Footprint(peak, level)


def held_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of the distinct storages behind `tensors`."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if t is not None}
    return sum(storages.values())
