"""What an all-reduce costs: alpha-beta formulas, or a measured table where it covers the group."""

from __future__ import annotations

__all__ = ["all_reduce_ns"]

from math import ceil, log2

from simulator.profile import Algorithm, AllReduceCost


def all_reduce_ns(cost: AllReduceCost, size_bytes: int, group: int) -> int:
    """Nanoseconds to all-reduce `size_bytes` over `group` ranks (zero for one rank).

    With alpha the latency, L/b bytes over bandwidth, r the group: ring 2(r-1) alpha + 2(r-1)/r L/b;
    Rabenseifner 2 log2(r) alpha + 2(r-1)/r L/b (Chimera paper, section 3.4); tree
    2 log2(r) (alpha + L/b). Logarithms are rounded up for a group that is no power of two.
    """
    if group < 2:
        return 0
    points = sorted((entry.size_bytes, entry.duration_ns) for entry in cost.measured if entry.group == group)
    if points:
        return _between(points, size_bytes)
    return round(min(_formula_ns(cost, algorithm, size_bytes, group) for algorithm in _tried(cost.algorithm)))


def _tried(algorithm: Algorithm) -> tuple[Algorithm, ...]:
    return ("ring", "rabenseifner", "tree") if algorithm == "auto" else (algorithm,)


def _formula_ns(cost: AllReduceCost, algorithm: Algorithm, size_bytes: int, group: int) -> float:
    rounds = ceil(log2(group))
    transfer = size_bytes * 1e9 / cost.bandwidth_bytes_per_s if cost.bandwidth_bytes_per_s else 0.0
    if algorithm == "ring":
        return 2 * (group - 1) * cost.latency_ns + 2 * (group - 1) / group * transfer
    if algorithm == "rabenseifner":
        return 2 * rounds * cost.latency_ns + 2 * (group - 1) / group * transfer
    return 2 * rounds * (cost.latency_ns + transfer)


def _between(points: list[tuple[int, int]], size: int) -> int:
    """Linear between measured sizes; flat below the smallest, proportional with one and beyond the last two."""
    if size <= points[0][0]:
        return points[0][1]
    if len(points) == 1:
        return round(points[0][1] * size / max(points[0][0], 1))
    place = next((i for i in range(1, len(points)) if size <= points[i][0]), len(points) - 1)
    (low, low_ns), (high, high_ns) = points[place - 1], points[place]
    return max(round(low_ns + (high_ns - low_ns) * (size - low) / (high - low)), 0)
