"""What every prediction is timed under: one profile with everything in it, and nothing kept of earlier plans."""

from __future__ import annotations

__all__ = ["PROFILE", "Section", "Size", "anew"]

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.goals import Goal
from chimera.simulator import Profile
from chimera.simulator.costs.profile import AllReduceCost, LayerCost, LinkCost, OptimizerCost, Overheads, SizeCost
from chimera.simulator.predicting.conditions import PLANS
from chimera.simulator.workload.structure import STRUCTURES

Size = tuple[int, int]
"""D and N"""
COST = SizeCost(
    1,
    10**6,
    2 * 10**6,
    forward_spread=0.02,
    backward_spread=0.02,
    activation_bytes=10**8,
    boundary_bytes=10**6,
    forward_workspace_bytes=10**6,
    backward_workspace_bytes=10**6,
)
PROFILE = Profile(
    "benchmark",
    (LayerCost("stage", (COST,), parameters=10**6, parameter_bytes=4 * 10**6),),
    per_stage=True,
    links={"local": LinkCost(50_000, 1e10, 1000, 1000)},
    all_reduce=AllReduceCost(10_000, 1e10),
    optimizer=OptimizerCost(1000, 0.01, 8),
    overheads=Overheads(dispatch_ns=5000),
)


class Section(NamedTuple):
    """A table, and goals."""

    text: str
    goals: list[Goal]


def anew(action: Callable[..., object], *arguments: object) -> object:
    """The action with nothing kept of earlier plans."""
    PLANS.clear()
    STRUCTURES.clear()
    return action(*arguments)
