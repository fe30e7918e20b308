"""Statistics of noisy, autocorrelated timings: medians, block bootstrap, disturbed iterations.

Iterations of a run are not independent (measured autocorrelation is the reason for blocks), and a
shared machine disturbs some of them. Every rule here is fixed before anything is measured.
"""

from __future__ import annotations

__all__ = [
    "DISTURBANCE_RULE",
    "Interval",
    "find_disturbed",
    "find_disturbed_rounds",
    "median_interval",
    "relative_spread",
    "win_probability",
]

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from chimera.pipeline.errors import InputError

_REPLICATES = 2000
DISTURBANCE_RULE = (
    "a round is set aside when its calibration runs (of a calibration run: the others) took more than 1.1 "
    "times their lower quartile over all rounds; an iteration is set aside when the machine lost more than "
    "2 % of it to other guests (steal time) or when it took more than 1.5 times the median of its configuration"
)
_ROUND_LIMIT, _STEAL_LIMIT, _OUTLIER_LIMIT = 1.1, 0.02, 1.5


class Interval(NamedTuple):
    """A median with its 95 % bootstrap interval and standard error, in the samples' unit."""

    median: float
    low: float
    high: float
    standard_error: float


def median_interval(samples: Sequence[float], *, blocks: Sequence[int] | None = None, seed: int = 0) -> Interval:
    """The median of `samples` and its 95 % interval from a block bootstrap.

    `blocks[i]` names the block (round) that sample i belongs to; whole blocks are resampled, since
    neighbours in time are correlated. Without it every sample is its own block. Raises InputError
    for no samples.
    """
    values = np.asarray(samples, dtype=float)
    if values.size == 0:
        raise InputError("no samples", "leave no median", "run more iterations")
    labels = np.arange(values.size) if blocks is None else np.asarray(blocks)
    groups = [values[labels == label] for label in np.unique(labels)]
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, len(groups), size=(_REPLICATES, len(groups)))
    medians = np.array([np.median(np.concatenate([groups[i] for i in row])) for row in draws])
    low, high = np.quantile(medians, [0.025, 0.975])
    return Interval(float(np.median(values)), float(low), float(high), float(medians.std()))


def relative_spread(samples: Sequence[float]) -> float:
    """A robust relative standard deviation: 1.4826 x the median absolute deviation / the median."""
    values = np.asarray(samples, dtype=float)
    centre = float(np.median(values)) if values.size else 0.0
    return float(1.4826 * np.median(np.abs(values - centre)) / centre) if centre else 0.0


def find_disturbed(durations: Sequence[float], steal_fractions: Sequence[float]) -> list[bool]:
    """Which iterations of one configuration DISTURBANCE_RULE sets aside.

    `steal_fractions[i]` is the steal time during iteration i over its duration and the cores used.
    """
    limit = _OUTLIER_LIMIT * float(np.median(durations)) if len(durations) else 0.0
    return [
        duration > limit or steal > _STEAL_LIMIT for duration, steal in zip(durations, steal_fractions, strict=True)
    ]


def find_disturbed_rounds(calibration: Mapping[int, float]) -> set[int]:
    """Which rounds DISTURBANCE_RULE sets aside; `calibration[round]` is their calibration runs' total time.

    Only calibration runs are looked at: what is judged has no say in what is judged.
    """
    if not calibration:
        return set()
    limit = _ROUND_LIMIT * float(np.quantile(list(calibration.values()), 0.25))
    return {number for number, duration in calibration.items() if duration > limit}


def win_probability(ours: Interval, theirs: Interval) -> float:
    """The probability that `ours` is truly smaller than `theirs`, by their standard errors."""
    from math import erf, sqrt

    error = sqrt(ours.standard_error**2 + theirs.standard_error**2)
    difference = theirs.median - ours.median
    if error == 0:
        return 0.5 if difference == 0 else float(difference > 0)
    return 0.5 * (1 + erf(difference / error / sqrt(2)))
