"""GPipe: all forwards, then all backwards (arXiv 1811.06965).

Bubble (p-1)(F+B); every stage stores the activations of all m micro-batches.
"""

from __future__ import annotations

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import OptionSpec, register


@register(
    "gpipe",
    source="GPipe, arXiv 1811.06965",
    bubble="(p-1)(F+B)",
    activations="m",
    options={"order": OptionSpec("fifo", ("fifo", "lifo"), "micro-batch order of the backwards; torch does fifo")},
)
def gpipe(stages: int, microbatches: int, order: str = "fifo") -> Schedule:
    """All forwards in order, then all backwards in the same (fifo) or the opposite order (lifo)."""
    backwards = range(microbatches) if order == "fifo" else range(microbatches - 1, -1, -1)
    rows = tuple(
        (
            *(Action(stage, Kind.F, m) for m in range(microbatches)),
            *(Action(stage, Kind.B, m) for m in backwards),
        )
        for stage in range(stages)
    )
    placement = (tuple(range(stages)),)
    return Schedule("gpipe", stages, stages, microbatches, placement, (0,) * microbatches, rows, {"order": order})
