"""Schedules with controllable memory on V-shaped stages: ZB-V, V-Half and V-Min (arXiv 2405.15362).

Device r holds stages r and 2p-1-r. Each schedule repeats one building block every six slots: where
a micro-batch's forwards F0, F1 and input backwards B1, B0 stand on device r, two slots of six being
left for W. The longer a micro-batch lives in its block, the more activations are stored, and the
more room there is for the messages to and fro. What the paper calls squeezing and reordering is
one pass in unit time (F = I = W = 1): a device runs the first of its next four passes that can run,
in the order of the block; a pass may overtake an earlier one that has to wait if that never needs
more than the limit of stored activations; a W fills what is left.

With m >= 2p and F = I = W = 1, in chunks: ZB-V stores 2p and has no idle slot between a device's
first and last action; V-Half stores 2 floor((p+2)/2) and idles 3p-7 (p even, p > 2) or 3p-4;
V-Min stores 2 floor((p+4)/3) and idles 4p-7 (p a multiple of 3) or 4p-5. 1F1B: 2p, 6(p-1).
"""

from __future__ import annotations

from collections import deque

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import register
from chimera.pipeline.schedules.search.v_order import Block, Rules, squeeze

_SOURCE = "Pipeline Parallelism with Controllable Memory, arXiv 2405.15362"


@register(
    "zb-v",
    aliases=("zbv", "v-zb"),
    source=_SOURCE,
    bubble="0 in the longest device at F = I = W when N >= 2D",
    activations="min(2m, 2p) chunks, that is p",
)
def zb_v(stages: int, microbatches: int) -> Schedule:
    """p = `stages` devices of 2 chunks each; any m >= 1."""
    p = stages
    block = [(4 * r, 6 * p - 2 * r - 3, 6 * p + 4 * r - 2, 12 * p - 2 * r - 5) for r in range(p)]
    return _folded("zb-v", microbatches, block, Rules(2 * p, overtake=True, prompt=True))


@register(
    "v-half",
    source=_SOURCE,
    bubble="3p-7 (p even) or 3p-4 chunk passes at F = I = W when N >= 2D, D > 2; 1F1B: 6p-6",
    activations="2 floor((p+2)/2) chunks, about p/2",
)
def v_half(stages: int, microbatches: int) -> Schedule:
    """p = `stages` devices of 2 chunks each; any m >= 1."""
    p, gap = stages, 0 if stages % 2 else 3
    block = [(2 * r, 3 * p - r - 2, 3 * p + gap + 2 * r - 1, 6 * p + gap - r - 2) for r in range(p)]
    return _folded("v-half", microbatches, block, Rules(2 * ((p + 2) // 2), overtake=True, prompt=False))


@register(
    "v-min",
    source=_SOURCE,
    bubble="4p-7 (p a multiple of 3) or 4p-5 chunk passes at F = I = W when N >= 2D; 1F1B: 6p-6",
    activations="2 floor((p+4)/3) chunks, about p/3",
)
def v_min(stages: int, microbatches: int) -> Schedule:
    """p = `stages` devices of 2 chunks each; any m >= 1."""
    p, gap = stages, 0 if stages % 3 else 2
    block = [(r, 2 * p - 1 - r, 2 * p + gap + r, 4 * p + gap - 1 - r) for r in range(p)]
    # Without the gap every slot of the block is needed in its place, and overtaking only disturbs it.
    return _folded("v-min", microbatches, block, Rules(2 * ((p + 4) // 3), overtake=gap > 0, prompt=False))


def _folded(name: str, microbatches: int, blocks: list[Block], rules: Rules) -> Schedule:
    devices = len(blocks)
    last = 2 * devices - 1
    orders = squeeze(blocks, microbatches, rules)
    rows = tuple(_named(order, device, last - device) for device, order in enumerate(orders))
    placement = (tuple(min(stage, last - stage) for stage in range(2 * devices)),)
    return Schedule(name, 2 * devices, devices, microbatches, placement, (0,) * microbatches, rows)


def _named(order: list[int], stage_0: int, stage_1: int) -> tuple[Action, ...]:
    """Actions for the kinds F0, F1, B1, B0 and W; a W belongs to the longest waiting input backward."""
    passes = ((stage_0, Kind.F), (stage_1, Kind.F), (stage_1, Kind.I), (stage_0, Kind.I))
    following = [0, 0, 0, 0]
    row: list[Action] = []
    owed: deque[Action] = deque()
    for kind in order:
        if kind == len(passes):
            row.append(owed.popleft())
            continue
        stage, what = passes[kind]
        row.append(Action(stage, what, following[kind]))
        following[kind] += 1
        if what is Kind.I:
            owed.append(row[-1]._replace(kind=Kind.W))
    return tuple(row)
