"""Lines through noisy measurements: a cost of alpha + beta x bytes, robust against outliers."""

from __future__ import annotations

__all__ = ["Line", "fit_line", "slope_interval"]

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

import numpy as np

from chimera.pipeline.errors import InputError

_REPLICATES = 200


class Line(NamedTuple):
    """Nanoseconds as a function of bytes: `alpha_ns` + `beta_ns_per_byte` x bytes."""

    alpha_ns: float
    beta_ns_per_byte: float

    def at(self, size_bytes: float) -> float:
        """The cost in nanoseconds of `size_bytes`."""
        return self.alpha_ns + self.beta_ns_per_byte * size_bytes

    @property
    def bandwidth_bytes_per_s(self) -> int | None:
        """1 / beta in bytes per second; None if the slope is not positive (size does not matter)."""
        return round(1e9 / self.beta_ns_per_byte) if self.beta_ns_per_byte > 0 else None


def fit_line(samples: Mapping[int, Sequence[float]]) -> Line:
    """The Theil-Sen line through the medians of `samples[bytes]` (nanoseconds).

    Slope and intercept are clipped at zero: neither a negative latency nor a bandwidth that grows
    without bound is physical. With one size the whole cost is latency. Raises InputError for none.
    """
    points = sorted((size, median(times)) for size, times in samples.items() if len(times))
    if not points:
        raise InputError("no measurements of a cost by size", "leave nothing to fit", "raise the calibration budget")
    slopes = [(there - here) / (b - a) for (a, here), (b, there) in combinations(points, 2)]
    slope = max(median(slopes), 0.0) if slopes else 0.0
    intercept = max(median(time - slope * size for size, time in points), 0.0)
    return Line(intercept, slope)


def slope_interval(samples: Mapping[int, Sequence[float]], *, seed: int = 0) -> tuple[float, float]:
    """The 90 % bootstrap interval of the slope of `fit_line`, in nanoseconds a byte.

    The samples of every size are drawn anew. A lower end of zero means that size has no effect that
    noise could not have. Two zeros where there is one size only: nothing is known of a slope.
    """
    generator = np.random.default_rng(seed)
    drawn = [
        fit_line({size: generator.choice(times, len(times)).tolist() for size, times in samples.items() if len(times)})
        for _ in range(_REPLICATES)
    ]
    low, high = np.quantile([line.beta_ns_per_byte for line in drawn], [0.05, 0.95])
    return float(low), float(high)
