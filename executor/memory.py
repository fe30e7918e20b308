"""Exact tensor memory: every allocation and release of a piece of work, in order."""

from __future__ import annotations

__all__ = ["ActionMemory", "Footprint", "Watched", "footprint", "held_bytes", "watch"]

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from executor.setup import Prepared

_MARK = "chimera "


class Footprint(NamedTuple):
    """Bytes relative to the start: the highest level reached and the level left at the end."""

    peak_bytes: int
    net_bytes: int


class ActionMemory(NamedTuple):
    """What one action did to the allocator: highest level and final level, relative to its start."""

    action: str
    peak_bytes: int
    net_bytes: int


@dataclass(frozen=True, slots=True)
class Watched:
    """Tensor memory of one iteration on one rank.

    `baseline_bytes` is held between iterations (weights in all versions, gradients, optimizer
    state); `peak_bytes` includes it. `reserved_bytes` is the caching allocator's (CUDA only).
    """

    baseline_bytes: int
    peak_bytes: int
    reserved_bytes: int
    actions: tuple[ActionMemory, ...]


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
    for _, change in _changes(watched):
        level += change
        peak = max(peak, level)
    del kept
    return Footprint(peak, level)


def watch(case: Prepared) -> Watched:
    """Runs one more iteration of a case, untimed since watching slows it down."""
    if case.context.device.type == "cuda":
        return _watch_cuda(case)
    batch = case.batch()
    case.count += 1
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        case.runtime.iteration(batch, annotate=True)
    changes = _changes(watched)
    level = peak = 0
    for _, change in changes:
        level += change
        peak = max(peak, level)
    baseline = case.runtime.held_bytes()
    return Watched(baseline, baseline + peak, 0, tuple(_by_action(changes, _windows(watched))))


def held_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of the distinct storages behind `tensors`."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if t is not None}
    return sum(storages.values())


def _watch_cuda(case: Prepared) -> Watched:
    batch = case.batch()
    case.count += 1
    torch.cuda.reset_peak_memory_stats(case.context.device)
    case.runtime.iteration(batch)
    return Watched(
        case.runtime.held_bytes(),
        torch.cuda.max_memory_allocated(case.context.device),
        torch.cuda.max_memory_reserved(case.context.device),
        (),
    )


def _events(watched: Any) -> Any:
    return watched.profiler.kineto_results.events()


def _changes(watched: Any) -> list[tuple[int, int]]:
    """(moment, bytes) of every allocation and release, in order."""
    found = [(event.start_ns(), event.nbytes()) for event in _events(watched) if event.name() == "[memory]"]
    return sorted(found, key=lambda change: change[0])


def _windows(watched: Any) -> list[tuple[int, int, str]]:
    """(start, end, action) of every annotated action, in order."""
    return sorted(
        (event.start_ns(), event.start_ns() + event.duration_ns(), event.name().removeprefix(_MARK))
        for event in _events(watched)
        if event.name().startswith(_MARK)
    )


def _by_action(changes: list[tuple[int, int]], windows: list[tuple[int, int, str]]) -> list[ActionMemory]:
    found, index = [], 0
    for start, end, action in windows:
        while index < len(changes) and changes[index][0] < start:
            index += 1
        level = peak = 0
        while index < len(changes) and changes[index][0] <= end:
            level += changes[index][1]
            peak = max(peak, level)
            index += 1
        found.append(ActionMemory(action, peak, level))
    return found
