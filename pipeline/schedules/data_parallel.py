"""Plain data parallelism: every device holds the whole model and shares out the micro-batches.

Bubble: none. Activations: one micro-batch through the whole model, that is D stage activations.
Weights: D stages on each of D devices. The baseline of every pipeline paper.
"""

from __future__ import annotations

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import register


@register(
    "data-parallel",
    aliases=("dp",),
    source="baseline",
    constraints="N >= D",
    bubble="0 when D divides N",
    activations="D stage activations: one micro-batch through the whole model",
)
def data_parallel(stages: int, microbatches: int) -> Schedule:
    """Replica r is device r and holds all stages; it runs micro-batches r, r + D, r + 2D ... whole.

    Raises InputError for fewer micro-batches than devices: some would have no gradient to give.
    """
    if microbatches < stages:
        raise InputError(
            f"{microbatches} micro-batches on {stages} devices",
            "leave a data-parallel device without work",
            f"use at least {stages} micro-batches",
        )
    rows = tuple(
        tuple(action for m in range(device, microbatches, stages) for action in _through(stages, m))
        for device in range(stages)
    )
    placement = tuple((device,) * stages for device in range(stages))
    replica_of = tuple(m % stages for m in range(microbatches))
    return Schedule("data-parallel", stages, stages, microbatches, placement, replica_of, rows, sync="end")


def _through(stages: int, microbatch: int) -> list[Action]:
    forwards = [Action(stage, Kind.F, microbatch) for stage in range(stages)]
    return forwards + [Action(stage, Kind.B, microbatch) for stage in reversed(range(stages))]
