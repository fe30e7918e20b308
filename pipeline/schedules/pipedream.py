"""PipeDream and PipeDream-2BW: 1F1B without a flush (arXiv 1806.03377, 2006.09503).

The order is 1F1B's; what differs is when weights change. PipeDream steps after every micro-batch
and stashes up to p-s weight versions on stage s; 2BW accumulates over the iteration and keeps two.
One iteration is predicted with its fill and drain, which in steady state overlap with neighbours.
"""

from __future__ import annotations

from dataclasses import replace

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import register
from chimera.pipeline.schedules.dapple import dapple


@register(
    "pipedream",
    source="PipeDream, arXiv 1806.03377",
    bubble="~0 in steady state",
    activations="min(m, p-s), and as many weight versions",
)
def pipedream(stages: int, microbatches: int) -> Schedule:
    """1F1B with an optimizer step after every backward (asynchronous: gradients are of old weights)."""
    return replace(dapple(stages, microbatches), name="pipedream", update="pipedream")


@register(
    "pipedream-2bw",
    aliases=("2bw",),
    source="PipeDream-2BW, arXiv 2006.09503",
    constraints="N >= D",
    bubble="~0 in steady state",
    activations="min(m, p-s), and two weight versions",
)
def pipedream_2bw(stages: int, microbatches: int) -> Schedule:
    """1F1B with double-buffered weights; needs as many micro-batches as stages to hide the switch."""
    if microbatches < stages:
        raise InputError(
            f"{microbatches} micro-batches in {stages} stages",
            "two weight versions are not enough: 2BW needs N >= D",
            f"use at least {stages} micro-batches",
        )
    return replace(dapple(stages, microbatches), name="pipedream-2bw", update="2bw")
