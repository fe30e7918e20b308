"""What ranks of an invented machine would measure: probes whose every number is known."""

from __future__ import annotations

__all__ = ["layer_probe", "rank_probes"]

from collections.abc import Iterable, Mapping, Sequence

from chimera.calibration.measuring.probes import AllReduceProbe, LayerProbe, MessageProbe, OverlapProbe, RankProbes
from chimera.simulator.costs.profile import Profile


def layer_probe(index: int, forward_ns: Iterable[int], backward_ns: Iterable[int], output_bytes: int = 0) -> LayerProbe:
    """Times of one layer alone; it keeps nothing and needs no workspace."""
    return LayerProbe(index, tuple(forward_ns), tuple(backward_ns), 0, output_bytes, 0, 0)


def rank_probes(
    machine: Profile | None = None,
    *,
    factor: float = 1.0,
    messages: Mapping[int, Sequence[int]] | None = None,
    all_reduces: Mapping[int, Mapping[int, Sequence[int]]] | None = None,
    overlaps: Iterable[OverlapProbe] = (),
) -> RankProbes:
    """What a rank would measure: layers of `machine` times a factor; messages by bytes, all-reduces by ranks, bytes."""
    stack = () if machine is None else machine.layers
    costs = [layer.costs[0] for layer in stack]
    return RankProbes(
        tuple(
            layer_probe(
                index,
                [round(factor * cost.forward_ns)] * 5,
                [round(factor * (cost.backward_ns or 0))] * 5,
                cost.boundary_bytes,
            )
            for index, cost in enumerate(costs)
        ),
        tuple(MessageProbe(size, tuple(times)) for size, times in (messages or {}).items()),
        tuple(
            AllReduceProbe(ranks, size, tuple(times))
            for ranks, table in (all_reduces or {}).items()
            for size, times in table.items()
        ),
        tuple(overlaps),
    )
