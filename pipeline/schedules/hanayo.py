"""Hanayo: waves through the devices, a bidirectional pipeline without replicas (arXiv 2308.15762).

A model of S = 2wp stages runs down the p devices and up again, w times: a device holds 2w chunks,
and neighbouring stages at a turn share a device. p micro-batches form a group. Counting a forward
and a backward as one slot each, micro-batch k of group g runs stage s forward in slot s + 2k + 2Sg and
backward in slot 2S-1-s + 2k + 2Sg. Down and up passes then fall into slots of different parity,
so nothing collides, and groups tile all slots. With f <= b the times of a chunk and N = K p, a device
idles 2(p-1)(b + (K-1)(b-f)): for f = b that is (p-1)(F+B)/(2w) in times of a whole device, however
many groups; for b > f bubbles between the groups add up, as in Chimera's direct concatenation.
The formula is ours.
"""

from __future__ import annotations

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import OptionSpec, register


@register(
    "hanayo",
    source="Hanayo, SC'23, arXiv 2308.15762",
    constraints="waves >= 1",
    bubble="2(p-1)(b + (K-1)(b-f)), times of a chunk, N = K D, f <= b",
    activations="at most 2wp chunks, p micro-batches",
    options={"waves": OptionSpec(1, None, "w, how often a micro-batch runs down and up the devices")},
)
def hanayo(stages: int, microbatches: int, waves: int = 1) -> Schedule:
    """p = `stages` devices of 2w chunks each; any m >= 1, the last group may be smaller.

    Raises InputError for waves < 1.
    """
    if waves < 1:
        raise InputError(f"waves = {waves}", "leaves a device without a chunk", "use waves >= 1")
    depth = 2 * waves * stages
    where = tuple(_zigzag(stage, stages) for stage in range(depth))
    slots: list[list[tuple[int, Action]]] = [[] for _ in range(stages)]
    for m in range(microbatches):
        base = 2 * depth * (m // stages) + 2 * (m % stages)
        for stage, device in enumerate(where):
            slots[device].append((base + stage, Action(stage, Kind.F, m)))
            slots[device].append((base + 2 * depth - 1 - stage, Action(stage, Kind.B, m)))
    rows = tuple(tuple(action for _, action in sorted(row)) for row in slots)
    return Schedule("hanayo", depth, stages, microbatches, (where,), (0,) * microbatches, rows, {"waves": waves})


def _zigzag(stage: int, devices: int) -> int:
    """Down the devices and up again: 0 1 .. p-1 p-1 .. 1 0 0 1 .."""
    turn, place = divmod(stage, devices)
    return devices - 1 - place if turn % 2 else place
