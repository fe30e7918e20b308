"""Exact bytes by hand: a float32 tensor of n elements is 4 n bytes, rounded up to the allocator's 64."""

from __future__ import annotations

import torch
from torch import Tensor

from chimera.executor.iteration.memory import footprint, held_bytes

N = 1 << 16
BYTES = 4 * N


def test_what_is_returned_stays() -> None:
    found = footprint(lambda: torch.empty(N))
    assert (found.peak_bytes, found.net_bytes) == (BYTES, BYTES)


def test_what_is_let_go_counts_for_the_peak_only() -> None:
    def work() -> Tensor:
        first = torch.empty(3 * N)
        del first
        return torch.empty(N)

    found = footprint(work)
    assert (found.peak_bytes, found.net_bytes) == (3 * BYTES, BYTES)


def test_releasing_what_an_earlier_footprint_saw_is_negative() -> None:
    # The pattern of the probes: activations are born in the forward's footprint and go in the backward's.
    kept: list[Tensor] = []
    footprint(lambda: kept.append(torch.empty(2 * N)))
    found = footprint(kept.clear)
    assert (found.peak_bytes, found.net_bytes) == (0, -2 * BYTES)


def test_releasing_what_nobody_watched_is_not_seen() -> None:
    # torch's CPUAllocator: "Memory block of unknown size was allocated before the profiling started,
    # profiler results will not include the deallocation event".
    kept = [torch.empty(2 * N)]
    found = footprint(kept.clear)
    assert (found.peak_bytes, found.net_bytes) == (0, 0)


def test_a_view_costs_nothing() -> None:
    whole = torch.empty(N)
    found = footprint(lambda: whole.view(2, -1)[0])
    assert (found.peak_bytes, found.net_bytes) == (0, 0)


def test_held_bytes_count_a_shared_storage_once_and_whole() -> None:
    whole = torch.empty(N)
    assert held_bytes([whole[: N // 2], whole[N // 2 :], None, torch.empty(N)]) == 2 * BYTES
