"""GPipe: all forwards, then all backwards."""

from __future__ import annotations

from pipeline.actions import Action, Kind
from pipeline.schedule import Schedule
from pipeline.schedules import register


@register("gpipe", source="GPipe, arXiv 1811.06965", bubble="(p-1)(F+B)", activations="m")
def gpipe(stages: int, microbatches: int) -> Schedule:
    """All forwards in order, then all backwards in order (fifo, as torch does)."""
    rows = tuple(
        tuple(Action(stage, kind, m) for kind in (Kind.F, Kind.B) for m in range(microbatches))
        for stage in range(stages)
    )
    return Schedule("gpipe", stages, stages, microbatches, (tuple(range(stages)),), (0,) * microbatches, rows)
