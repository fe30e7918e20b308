"""DAPPLE, also known as 1F1B and PipeDream-Flush (arXiv 2007.01045).

Bubble (p-1)(F+B); stage s stores min(m, p-s) activations.
"""

from __future__ import annotations

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import register


def one_f_one_b(stage: int, stages: int, microbatches: int) -> tuple[Action, ...]:
    """The row of one stage: min(m, p-s) warm-up forwards, then one backward, one forward."""
    warm_up = min(microbatches, stages - stage)
    row = [Action(stage, Kind.F, m) for m in range(warm_up)]
    for m in range(microbatches):
        row.append(Action(stage, Kind.B, m))
        if warm_up + m < microbatches:
            row.append(Action(stage, Kind.F, warm_up + m))
    return tuple(row)


@register(
    "dapple",
    aliases=("1f1b", "pipedream-flush"),
    source="DAPPLE, arXiv 2007.01045; Megatron-LM; torch Schedule1F1B",
    bubble="(p-1)(F+B)",
    activations="min(m, p-s) on stage s",
)
def dapple(stages: int, microbatches: int) -> Schedule:
    """1F1B with a flush at the end of the iteration; any m >= 1 (torch refuses m < p)."""
    rows = tuple(one_f_one_b(stage, stages, microbatches) for stage in range(stages))
    return Schedule("dapple", stages, stages, microbatches, (tuple(range(stages)),), (0,) * microbatches, rows)
