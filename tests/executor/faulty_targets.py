"""Runs of a job in which one rank meets a fault in the middle of an iteration, for real."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from chimera.executor.iteration.stage import RealStage
from chimera.executor.jobs.job import run_job
from chimera.executor.ranks.context import RankContext

_CULPRIT = 1
_AFTER = 9
"""backwards that go well: two iterations of four micro-batches, and one"""
_JSON = dict[str, Any]


def killed(context: RankContext, payload: Mapping[str, Any]) -> _JSON:
    """kill -9, from wherever it comes."""
    return _run(context, payload, lambda: os.kill(os.getpid(), signal.SIGKILL))


def stopped(context: RankContext, payload: Mapping[str, Any]) -> _JSON:
    """A process that is there and does nothing."""
    return _run(context, payload, lambda: os.kill(os.getpid(), signal.SIGSTOP))


def busy(context: RankContext, payload: Mapping[str, Any]) -> _JSON:
    """A computation that never ends."""

    def compute() -> None:
        while True:
            pass

    return _run(context, payload, compute)


def out_of_memory(context: RankContext, payload: Mapping[str, Any]) -> _JSON:
    """An allocation that the kernel refuses: the address space is full but for 64 MiB."""

    def allocate() -> None:
        held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (held + (64 << 20), resource.RLIM_INFINITY))
        torch.ones(1 << 28)

    return _run(context, payload, allocate)


def starved(context: RankContext, payload: Mapping[str, Any]) -> _JSON:
    """More memory than there is: every page is granted, until the kernel has none and kills."""

    def allocate() -> None:
        held = []
        while True:
            held.append(torch.ones(1 << 25))
            (context.output / "fault").write_text(str(time.monotonic_ns()))  # until now all was well

    return _run(context, payload, allocate)


def raising(context: RankContext, payload: Mapping[str, Any]) -> _JSON:
    """A mistake in a program."""

    def fail() -> None:
        raise ValueError("the reason")

    return _run(context, payload, fail)


def _run(context: RankContext, payload: Mapping[str, Any], fault: Callable[[], None]) -> _JSON:
    whole, calls = RealStage.backward, iter(range(_AFTER))

    def backward(self: RealStage, *given: Any) -> torch.Tensor | None:
        if next(calls, None) is None:
            (context.output / "fault").write_text(str(time.monotonic_ns()))
            fault()
        return whole(self, *given)

    if context.rank == _CULPRIT:
        RealStage.backward = backward  # type: ignore[method-assign, assignment]
    return run_job(context, payload)
