"""GEMS: two replicas in opposite directions and at most two micro-batches in flight (SC'20).

Micro-batches alternate between the two. The forward of the next one follows the backward of the one
before stage by stage, so activations stay at one or two and most devices idle: the bubble ratio
tends to (D-1)/(D+1/2) for B = 2F (Chimera paper, Table 2; only asymptotically).
"""

from __future__ import annotations

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import register


@register(
    "gems",
    source="GEMS, SC'20 (10.5555/3433701.3433727); Chimera paper, Table 2",
    constraints="even D",
    bubble="ratio ~ (D-1)/(D+1/2)",
    activations="1 to 2",
)
def gems(stages: int, microbatches: int) -> Schedule:
    """Micro-batch m runs in replica m mod 2; each device alternates them in that order.

    While the backward of micro-batch m leaves a device, the forward of m+1, which enters from the
    other end, follows it: on every device the order is F0 [B0 F1 or F1 B0] ... by arrival.
    """
    if stages % 2:
        raise InputError(f"{stages} stages", "GEMS pairs two opposite pipelines", f"use {stages + 1} stages")
    placement = (tuple(range(stages)), tuple(reversed(range(stages))))
    rows: list[list[tuple[int, int, Action]]] = [[] for _ in range(stages)]
    for m in range(microbatches):
        # In unit slots a micro-batch takes D forwards and D backwards; the next one's forwards run
        # in the wake of its backwards, which start on the device where the next one enters.
        base = m * (stages + 1)
        for stage in range(stages):
            row = rows[placement[m % 2][stage]]
            row.append((base + stage, m, Action(stage, Kind.F, m)))
            row.append((base + 2 * stages - 1 - stage, m, Action(stage, Kind.B, m)))
    ordered = tuple(tuple(action for _, _, action in sorted(row)) for row in rows)
    replica_of = tuple(m % 2 for m in range(microbatches))
    return Schedule("gems", stages, stages, microbatches, placement, replica_of, ordered)
