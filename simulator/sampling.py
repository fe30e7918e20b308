"""Durations drawn from the calibrated distribution, with a seed."""

from __future__ import annotations

__all__ = ["as_rows", "draw", "has_jitter"]

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.actions import Kind
from simulator.workload import COMPUTE, Op, Workload

_BATCH = 64


def has_jitter(workload: Workload) -> bool:
    """Whether the profile says anything about how durations vary."""
    jitter = workload.profile.jitter
    spreads = [spread for costs in workload.durations.table(1.0) for spread in costs.jitter]
    return bool(jitter.action_quantiles or jitter.device_spread or jitter.iteration_spread or any(spreads))


def draw(workload: Workload, samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Batches of drawn durations in nanoseconds, shape (batch, computations), devices in turn.

    Every computation is multiplied by an independent factor from the profile's residual quantiles
    (or a log-normal of its stage's spread), by its device's factor and by the iteration's factor.
    Messages, all-reduces and optimizer steps are not varied. The same seed gives the same draws.
    """
    generator, jitter = np.random.default_rng(seed), workload.profile.jitter
    rows = [[i for i, op in enumerate(ops) if op.code is COMPUTE] for ops in workload.ops]
    work = np.array([workload.work_ns[d][i] for d, row in enumerate(rows) for i in row], np.float64)
    spread = np.array([_spread(workload, workload.ops[d][i]) for d, row in enumerate(rows) for i in row])
    device = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    for begin in range(0, samples, _BATCH):
        count = min(_BATCH, samples - begin)
        iterations = np.exp(generator.normal(0.0, jitter.iteration_spread, (count, 1)))
        devices = np.exp(generator.normal(0.0, jitter.device_spread, (count, len(rows))))
        if jitter.action_quantiles:
            # The inverse of the empirical distribution, linear between its quantiles.
            grid = np.linspace(0.0, 1.0, len(jitter.action_quantiles))
            actions = 1.0 + np.interp(generator.random((count, len(work))), grid, sorted(jitter.action_quantiles))
        else:
            actions = np.exp(generator.normal(0.0, 1.0, (count, len(work))) * spread)
        yield np.rint(work * actions * devices[:, device] * iterations).astype(np.int64)


def as_rows(workload: Workload, drawn: NDArray[np.int64]) -> list[list[int]]:
    """One draw as `work_ns[device][position]`, for the reference engine."""
    values = iter(drawn.tolist())
    return [
        [next(values) if op.code is COMPUTE else known for op, known in zip(ops, row, strict=True)]
        for ops, row in zip(workload.ops, workload.work_ns, strict=True)
    ]


def _spread(workload: Workload, op: Op) -> float:
    costs = [workload.durations.stage(part.stage).jitter for part in op.action.parts]
    return max(
        forward if part.kind is Kind.F else backward
        for part, (forward, backward) in zip(op.action.parts, costs, strict=True)
    )
