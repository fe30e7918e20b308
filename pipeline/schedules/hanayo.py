"""Hanayo: wave-like pipelines, Chimera's two directions folded into one model (SC'23, arXiv 2308.15762).

With w waves a device holds 2w chunks: the stages run over the p devices and back again, w times, so
that a turn needs no message. This is Chimera's slot pattern without its second copy of the weights:
in unit slots the k-th micro-batch of a unit of p runs its forward of stage s in slot s + 2k and its
backward in slot 2S-1-s + 2k, S = 2wp. Device d is then busy in slots d and -1-d modulo 2p, shifted by
2k; their parities differ, so that a unit covers every slot once modulo its length 4wp, and units
follow one another without a gap.

With chunk times B >= F, free messages and N = K p the makespan is 2wpK (F+B) + (2p-2)(K B - (K-1) F):
a bubble of (2p-2) B at N = p, 1/w of it in a whole device's times, and where B > F another (2p-2)(B-F)
for each further unit, as in Chimera's direct concatenation. At w = 1, N = p it is Chimera of depth
2p, cut in two: each half runs half of its micro-batches.
"""

from __future__ import annotations

from pipeline.actions import Action, Kind
from pipeline.errors import InputError
from pipeline.schedule import Schedule
from pipeline.schedules import OptionSpec, register


@register(
    "hanayo",
    source="Hanayo, SC'23, arXiv 2308.15762",
    constraints="waves >= 1",
    bubble="(2p-2)(KB-(K-1)F), times of a chunk, N=KD, B>=F",
    activations="at most 2wp chunks",
    options={"waves": OptionSpec(2, None, "w; a device holds 2w chunks")},
)
def hanayo(stages: int, microbatches: int, waves: int = 2) -> Schedule:
    """p = `stages` devices of 2w chunks each; any m >= 1, in units of p and a last, partial one.

    Raises InputError for w < 1.
    """
    if waves < 1:
        raise InputError(f"waves = {waves}", "leaves a device without a chunk", "use waves >= 1")
    turn = 2 * stages
    count = waves * turn
    placement = tuple(min(s % turn, turn - 1 - s % turn) for s in range(count))
    rows = tuple(
        _row([s for s in range(count) if placement[s] == d], stages, microbatches, count) for d in range(stages)
    )
    options = {"waves": waves}
    return Schedule("hanayo", count, stages, microbatches, (placement,), (0,) * microbatches, rows, options)


def _row(held: list[int], devices: int, microbatches: int, stages: int) -> tuple[Action, ...]:
    """The actions of the device that holds these stages, in the order of their slots."""
    pattern = [(s, s, Kind.F) for s in held] + [(2 * stages - 1 - s, s, Kind.B) for s in held]
    slots: list[Action | None] = [None] * (2 * stages * (-(-microbatches // devices) + 1) + 2 * devices)
    for m in range(microbatches):
        unit, place = divmod(m, devices)
        base = 2 * stages * unit + 2 * place
        for offset, stage, kind in pattern:
            slots[base + offset] = Action(stage, kind, m)
    return tuple(action for action in slots if action is not None)
