"""Zero Bubble's two handcrafted schedules, ZB-H1 and ZB-H2 (arXiv 2401.10241, section 2).

The backward is split into I (gradient of the input, what the previous stage waits for) and W
(gradient of the weights, for which nobody waits). Every device delays its W passes until the
warm-up of the whole pipeline is made up for, so that they fill what 1F1B leaves idle at the end.
An activation is stored until its W. With F, I, W the times of one stage, free messages and m >= p
(H1) or m >= 2p-1 (H2), the longest device idles
H1: (p-1)(F+I-W), at most p activations, as 1F1B;
H2: (p-1)(F+I-2W), at most 2p-1 activations; this one counts from a device's first action to its
last, because the last iteration's end and the next one's start fit together.
The paper calls I "B"; its formulas are ours with that name changed.
"""

from __future__ import annotations

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import register


@register(
    "zb-h1",
    aliases=("zb1p",),
    source="Zero Bubble, arXiv 2401.10241, section 2.1",
    bubble="(p-1)(F+I-W) when N >= D, W <= F, W <= I",
    activations="min(m, p) on every stage",
)
def zb_h1(stages: int, microbatches: int) -> Schedule:
    """1F1B with the backward split and W on stage s delayed by s micro-batches; any m >= 1."""
    return _handcrafted("zb-h1", stages, microbatches, 1)


@register(
    "zb-h2",
    source="Zero Bubble, arXiv 2401.10241, section 2.2",
    bubble="(p-1)(F+I-2W) in the longest device, when N >= 2D-1, W <= F, W <= I",
    activations="min(m, 2p-1) on every stage",
)
def zb_h2(stages: int, microbatches: int) -> Schedule:
    """Twice the warm-up of ZB-H1, so that the first backward finds every device busy; any m >= 1."""
    return _handcrafted("zb-h2", stages, microbatches, 2)


def _handcrafted(name: str, stages: int, microbatches: int, depth: int) -> Schedule:
    rows = tuple(_row(stage, stages, microbatches, depth) for stage in range(stages))
    return Schedule(name, stages, stages, microbatches, (tuple(range(stages)),), (0,) * microbatches, rows)


def _row(stage: int, stages: int, microbatches: int, depth: int) -> tuple[Action, ...]:
    """depth (p-1-s) forwards, then F I and, once depth (p-1) forwards are passed, F I W."""
    warm_up = min(depth * (stages - 1 - stage), microbatches)
    delay = depth * stage
    row = [Action(stage, Kind.F, m) for m in range(warm_up)]
    for m in range(microbatches):
        if warm_up + m < microbatches:
            row.append(Action(stage, Kind.F, warm_up + m))
        row.append(Action(stage, Kind.I, m))
        if m >= delay:
            row.append(Action(stage, Kind.W, m - delay))
    row += [Action(stage, Kind.W, m) for m in range(max(microbatches - delay, 0), microbatches)]
    return tuple(row)
