"""Machines invented for tests: profiles whose every cost is known, and what they would show to a calibration."""

from __future__ import annotations

__all__ = ["MLP_TINY", "MS", "layer_machine", "layer_probe", "rank_probes", "stage_machine"]

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chimera.calibration.measuring.probes import AllReduceProbe, LayerProbe, MessageProbe, OverlapProbe, RankProbes
from chimera.pipeline.models import config_dict, layers, model_config
from chimera.simulator.costs.profile import LayerCost, LinkCost, OptimizerCost, Overheads, Profile, SizeCost

MS = 10**6
"""nanoseconds"""
MLP_TINY = model_config("mlp-tiny")
_TIMES = {"input": (2_600_000, 3_300_000), "hidden": (2_000_000, 3_900_000), "output": (1_400_000, 3_000_000)}
"""forward and backward of each kind of layer: none is a multiple of another, so that mistakes show"""


def stage_machine(
    forward_ns: int = 5 * MS,
    backward_ns: int = 10 * MS,
    *split_ns: int | None,
    name: str = "invented",
    size: Mapping[str, Any] | None = None,
    parameters: int = 0,
    per_stage: bool = True,
    **settings: Any,
) -> Profile:
    """A machine on which every stage costs the same: `split_ns` are the two halves of a split backward.

    `size` are further fields of its SizeCost, such as bytes; `settings` further fields of the Profile.
    """
    backward_input_ns, backward_weight_ns = split_ns or (None, None)
    cost = SizeCost(1, forward_ns, backward_ns, backward_input_ns, backward_weight_ns, **(size or {}))
    layer = LayerCost("stage", (cost,), parameters=parameters, parameter_bytes=4 * parameters)
    return Profile(name, (layer,), per_stage=per_stage, **settings)


def layer_machine(**settings: Any) -> Profile:
    """mlp-tiny with four samples a micro-batch, every kind of layer with its own cost; slow messages, dear dispatch."""
    stack = tuple(
        LayerCost(
            layer.name,
            (SizeCost(4, *_TIMES[layer.kind], 1_700_000, 2_100_000, boundary_bytes=layer.boundary_elements * 16),),
            layer.kind,
            layer.parameters,
            4 * layer.parameters,
        )
        for layer in layers(MLP_TINY)
    )
    usual: dict[str, Any] = {
        "links": {"local": LinkCost(latency_ns=400_000)},
        "overheads": Overheads(dispatch_ns=50_000),
        "optimizer": OptimizerCost(ns_per_parameter=2.0),
    }
    return Profile("invented", stack, model=config_dict(MLP_TINY), **(usual | settings))


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
    """What one rank would measure: layers of `machine`, times a factor; messages by bytes, all-reduces by ranks and bytes."""
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
