"""What an all-reduce costs: alpha-beta formulas, or a measured table where it covers the group."""

from __future__ import annotations

__all__ = ["all_reduce_ns", "cost_among", "rounds_of"]

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, log2

from chimera.pipeline.grid import node_of
from chimera.simulator.costs.profile import Algorithm, AllReduceCost, LinkCost, Profile


def cost_among(profile: Profile, ranks: Sequence[int]) -> AllReduceCost:
    """What an all-reduce among these ranks costs: its own costs, but no better than the links it lies on.

    With nodes, its messages lie on the links between nodes if the ranks stand on several, and
    within one otherwise: latency is the larger of the two, bandwidth the smaller. Measured entries
    count for as many nodes as they were measured on. Every step of an all-reduce waits for its slowest
    pair: with a slow link between two of the ranks all of it is slower by that factor (of a ring whose
    members they are without being neighbours this is more than need be).
    """
    size = profile.topology.devices_per_node
    factor = _factor(profile, ranks)
    cost = _slow_reduce(profile.all_reduce, factor)
    if size is None:
        return cost
    nodes = len({node_of(rank, size) for rank in ranks})
    link = _slow_link(profile.links.get("same_node" if nodes == 1 else "other_node", LinkCost()), factor)
    bandwidths = [known for known in (cost.bandwidth_bytes_per_s, link.bandwidth_bytes_per_s) if known]
    return replace(
        cost,
        latency_ns=max(cost.latency_ns, link.latency_ns),
        bandwidth_bytes_per_s=min(bandwidths, default=None),
        measured=tuple(entry for entry in cost.measured if entry.nodes == nodes),
    )


def _factor(profile: Profile, ranks: Sequence[int]) -> float:
    """By how much the slowest link between two of the ranks is slower than others of its class."""
    members = set(ranks)
    slow = [slow.factor for slow in profile.topology.slow_links if {slow.one, slow.other} <= members]
    return max(slow, default=1.0)


def _slow_link(link: LinkCost, factor: float) -> LinkCost:
    known = link.bandwidth_bytes_per_s
    return replace(link, latency_ns=round(link.latency_ns * factor), bandwidth_bytes_per_s=known and known / factor)


def _slow_reduce(cost: AllReduceCost, factor: float) -> AllReduceCost:
    known = cost.bandwidth_bytes_per_s
    return replace(
        cost,
        latency_ns=round(cost.latency_ns * factor),
        bandwidth_bytes_per_s=known and known / factor,
        measured=tuple(replace(entry, duration_ns=round(entry.duration_ns * factor)) for entry in cost.measured),
    )


def rounds_of(cost: AllReduceCost, size_bytes: int, group: int) -> int:
    """How many exchanges come in a row: 2(r-1) around a ring (or where only times are measured), else 2 log2(r)."""
    if group < 2:
        return 0
    if any(entry.group == group for entry in cost.measured):
        return 2 * (group - 1)
    fastest = min(_tried(cost.algorithm), key=lambda algorithm: _formula_ns(cost, algorithm, size_bytes, group))
    return 2 * (group - 1) if fastest == "ring" else 2 * ceil(log2(group))


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
