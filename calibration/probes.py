"""What every rank measures about itself and its peers: layers, messages, all-reduces.

These functions run inside the ranks, all ranks at once, because a layer alone on an idle machine is
faster than the same layer beside busy neighbours. They time; `calibration.measure` makes a Profile.
"""

from __future__ import annotations

__all__ = ["layer_samples", "message_samples", "reduce_samples"]

import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

Samples = dict[str, list[int]]


def layer_samples(module: nn.Module, sample: Tensor, seconds: float, least: int = 5) -> Samples:
    """Nanoseconds of a layer's `forward` and `backward` on `sample`, repeated for about `seconds`.

    At least `least` repetitions are kept after two that warm up. The backward includes the gradient
    of the input where the input has one (not for token indices), as it does inside a stage.
    """
    found: Samples = {"forward": [], "backward": []}
    deadline = time.monotonic() + seconds
    repetition = 0
    while repetition < least + 2 or time.monotonic() < deadline:
        given = sample.detach()
        if given.is_floating_point():
            given.requires_grad_()
        started = time.monotonic_ns()
        output = module(given)
        between = time.monotonic_ns()
        seed = torch.ones_like(output)
        resumed = time.monotonic_ns()
        output.backward(seed)
        ended = time.monotonic_ns()
        if repetition >= 2:
            found["forward"].append(between - started)
            found["backward"].append(ended - resumed)
        repetition += 1
    return found


def message_samples(rank: int, sizes: list[int], repetitions: int) -> dict[int, list[int]]:
    """One-way nanoseconds by bytes between ranks 0 and 1, half of each measured round trip."""
    found: dict[int, list[int]] = {}
    for size in sizes:
        payload = torch.zeros(size, dtype=torch.uint8)
        found[size] = []
        for repetition in range(repetitions + 2):
            started = time.monotonic_ns()
            if rank == 0:
                dist.send(payload, 1)
                dist.recv(payload, 1)
            elif rank == 1:
                dist.recv(payload, 0)
                dist.send(payload, 0)
            if repetition >= 2:
                found[size].append((time.monotonic_ns() - started) // 2)
    return found


def reduce_samples(sizes: list[int], repetitions: int, group: Any = None) -> dict[int, list[int]]:
    """Nanoseconds of an all-reduce over `group` (default: all ranks) by bytes, after a barrier each."""
    found: dict[int, list[int]] = {}
    for size in sizes:
        payload = torch.zeros(max(size // 4, 1), dtype=torch.float32)
        found[size] = []
        for repetition in range(repetitions + 2):
            dist.barrier(group)
            started = time.monotonic_ns()
            dist.all_reduce(payload, group=group)
            if repetition >= 2:
                found[size].append(time.monotonic_ns() - started)
    return found
