"""Durations drawn from the calibrated distribution, with a seed."""

from __future__ import annotations

__all__ = ["draw", "has_jitter"]

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.actions import Kind
from simulator.workload import Op, OpCode, Workload

_Factors = NDArray[np.float64]


def has_jitter(workload: Workload) -> bool:
    """Whether the profile says anything about how durations vary."""
    jitter = workload.profile.jitter
    spreads = [spread for costs in workload.durations.table(1.0) for spread in costs.jitter]
    return bool(jitter.action_quantiles or jitter.device_spread or jitter.iteration_spread or any(spreads))


def draw(workload: Workload, samples: int, seed: int) -> Iterator[list[list[int]]]:
    """`samples` draws of `work_ns[device][position]`; the same seed gives the same draws.

    Every computation is multiplied by an independent factor from the profile's residual quantiles
    (or a log-normal of its stage's spread), by its device's factor and by the iteration's factor.
    Messages, all-reduces and optimizer steps are not varied.
    """
    generator = np.random.default_rng(seed)
    jitter = workload.profile.jitter
    positions = [[i for i, op in enumerate(ops) if op.code is OpCode.COMPUTE] for ops in workload.ops]
    spreads = [
        np.array([_spread(workload, ops[i]) for i in row]) for ops, row in zip(workload.ops, positions, strict=True)
    ]
    for _ in range(samples):
        iteration = np.exp(generator.normal(0.0, jitter.iteration_spread))
        work = []
        for row, places, spread in zip(workload.work_ns, positions, spreads, strict=True):
            device = np.exp(generator.normal(0.0, jitter.device_spread))
            factors = iteration * device * _action_factors(generator, jitter.action_quantiles, spread)
            drawn = list(row)
            for place, factor in zip(places, factors.tolist(), strict=True):
                drawn[place] = round(row[place] * factor)
            work.append(drawn)
        yield work


def _action_factors(generator: np.random.Generator, quantiles: tuple[float, ...], spread: _Factors) -> _Factors:
    """Inverse of the empirical distribution, linear between its quantiles; else log-normal."""
    if quantiles:
        grid = np.linspace(0.0, 1.0, len(quantiles))
        return 1.0 + np.interp(generator.random(len(spread)), grid, sorted(quantiles))
    return np.exp(generator.normal(0.0, 1.0, len(spread)) * spread)


def _spread(workload: Workload, op: Op) -> float:
    costs = [workload.durations.stage(part.stage).jitter for part in op.action.parts]
    return max(
        forward if part.kind is Kind.F else backward
        for part, (forward, backward) in zip(op.action.parts, costs, strict=True)
    )
