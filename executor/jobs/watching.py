"""One iteration of a case with its memory watched: every allocation, action by action."""

from __future__ import annotations

__all__ = ["ActionMemory", "Watched", "watch"]

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from chimera.executor.iteration.memory import changes
from chimera.executor.jobs.prepare import Prepared

_MARK = "chimera "


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


def watch(case: Prepared) -> Watched:
    """Runs one more iteration of a case, untimed since watching slows it down."""
    if case.context.device.type == "cuda":
        return _watch_cuda(case)
    batch = case.batch()
    case.count += 1
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        case.runtime.iteration(batch, annotate=True)
    found = changes(watched)
    level = peak = 0
    for _, change in found:
        level += change
        peak = max(peak, level)
    baseline = case.runtime.held_bytes()
    return Watched(baseline, baseline + peak, 0, tuple(_by_action(found, _windows(watched))))


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


def _windows(watched: Any) -> list[tuple[int, int, str]]:
    """(start, end, action) of every annotated action, in order."""
    return sorted(
        (event.start_ns(), event.start_ns() + event.duration_ns(), event.name().removeprefix(_MARK))
        for event in watched.profiler.kineto_results.events()
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
