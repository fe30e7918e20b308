"""Machines invented for tests: profiles whose every cost is known."""

from __future__ import annotations

__all__ = ["MLP_TINY", "MS", "layer_machine", "stage_machine"]

from collections.abc import Mapping
from typing import Any

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
    **settings: Any,
) -> Profile:
    """A machine on which every stage costs the same: `split_ns` are the two halves of a split backward.

    `size` are further fields of its SizeCost, such as bytes; `settings` further fields of the Profile.
    """
    backward_input_ns, backward_weight_ns = split_ns or (None, None)
    cost = SizeCost(1, forward_ns, backward_ns, backward_input_ns, backward_weight_ns, **(size or {}))
    layer = LayerCost("stage", (cost,), parameters=parameters, parameter_bytes=4 * parameters)
    return Profile(name, (layer,), per_stage=True, **settings)


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
