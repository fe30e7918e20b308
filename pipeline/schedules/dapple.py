"""DAPPLE / 1F1B: warm-up forwards, then one backward, one forward."""

from __future__ import annotations

from pipeline.actions import Action, Kind
from pipeline.schedule import Schedule
from pipeline.schedules import register


@register("dapple", aliases=("1f1b", "pipedream-flush"), source="DAPPLE, arXiv 2007.01045", bubble="(p-1)(F+B)", activations="min(m, p-s)")
def dapple(stages: int, microbatches: int) -> Schedule:
    """Stage s warms up with min(m, p-s) forwards, then alternates backward and forward."""
    rows = []
    for stage in range(stages):
        warm = min(microbatches, stages - stage)
        row = [Action(stage, Kind.F, m) for m in range(warm)]
        for m in range(microbatches):
            row.append(Action(stage, Kind.B, m))
            if warm + m < microbatches:
                row.append(Action(stage, Kind.F, warm + m))
        rows.append(tuple(row))
    return Schedule("dapple", stages, stages, microbatches, (tuple(range(stages)),), (0,) * microbatches, tuple(rows))
