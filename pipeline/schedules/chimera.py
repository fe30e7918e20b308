"""Chimera: bidirectional pipelines (Li and Hoefler, SC'21, arXiv 2107.06925).

f down pipelines and f up pipelines of the same model share D devices: down pipeline i puts stage s on
device (i D/f + s) mod D, up pipeline i in exactly the reverse order. A unit of D items is dealt to
the 2f pipelines, D/(2f) each. In unit slots the k-th item of a pipeline runs its forward of stage s
in slot s + 2k and its backward in slot 2D-1-s + 2k; a device's slots then never collide, nor do
those of units that follow at a distance of 2D slots: modulo 2D they cover every slot once. A row is
therefore one pattern of 2D slots, walked once per unit; what lies beyond 2D belongs to the unit before.

An item is a micro-batch (`direct`), two in one forward and a backward each (`doubling`), or one
with its backward in two halves (`halving`); the last two make forward and backward slots equal, and
intermediate bubbles vanish. With free messages, f = 1 and N = K D:
direct (f = 1, B >= F): (D-2+2K) F + K (2D-2) B;
doubling (B = 2F): 3N + 2(D-2) forwards' time for even K, D-2 more for the plain unit of an odd K > 1;
halving (B = 2F): 3N + (D-2). N = D: C_f = D forwards and C_b = D + D/f - 2 backwards.
Table 2's (D-2)/(2N+D-2) is exact for direct concatenation with F = B and any K. For doubling and
halving it counts every slot alike; at B = 2F they have (D-2)/(3N/2+D-2) and (D-2)/(3N+D-2), and no
schedule with their forwards and backwards does better: a middle device starts D/2-1 forwards late
and ends D/2-1 backwards early. Activations: D - D/(2f) + 1 .. D, doubled for doubling.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Option, Schedule, Sync
from chimera.pipeline.schedules import RECOMPUTE, OptionSpec, register

Unit = list[list[tuple[int, int]]]
"""Per replica, the items it works on in order: a micro-batch and its double, or -1 for none."""


class Slot(NamedTuple):
    """What a device does in one slot of every unit, in the order of the slots modulo 2D."""

    residue: int
    delay: int
    """0, or 1 if the slot lies beyond 2D, in the time of the next unit"""
    replica: int
    stage: int
    place: int
    """k: which of the replica's items of a unit"""
    backward: bool


@register(
    "chimera",
    source="Chimera, SC'21, arXiv 2107.06925",
    constraints="even D; pairs divides D/2",
    bubble="N=D: (D-2)/(3N/2+D-2) at B=2F",
    activations="(D - D/2f + 1) .. D; doubling twice that",
    options={
        "pairs": OptionSpec(1, None, "f, pairs of pipelines; divides D/2 (f = D/2 degrades to data parallelism)"),
        "concat": OptionSpec("direct", ("direct", "doubling", "halving"), "how more than D micro-batches follow"),
        "handover": OptionSpec(
            "batch", ("batch", "each"), "a doubled forward's outputs leave together, or each by itself"
        ),
        "recompute": OptionSpec(None, None, f"{RECOMPUTE.help}; auto: all with doubling, else none"),
        "sync": OptionSpec("eager-opt", ("end", "eager", "eager-opt"), "when gradients are all-reduced"),
    },
)
def chimera(
    stages: int,
    microbatches: int,
    pairs: int = 1,
    concat: str = "direct",
    handover: str = "batch",
    sync: str = "eager-opt",
) -> Schedule:
    """Any N >= 1: units of D items (2D micro-batches when doubling) and a last, partial one.

    Replicas are numbered down pipelines first, then up. Raises InputError for odd D and for pairs
    that do not divide D/2. Doubling recomputes unless told not to, as the paper mostly runs it:
    twice the activations rarely fit, and only so can one batched forward serve two backwards. With handover "batch"
    that forward is one pass and its outputs leave when both are done; with "each" it is two passes in a row, as in the
    paper's Figure 7d, and the next stage starts after the first: at B = 2F without recomputation 27 instead of 28
    forwards' time for D = 4, N = 8.
    """
    recompute = concat == "doubling"
    _check(stages, pairs)
    if handover == "each" and concat != "doubling":
        raise InputError(
            f"handover=each with concat={concat}", "no forward is doubled", "add concat=doubling, or drop handover"
        )
    down = [tuple((i * stages // pairs + s) % stages for s in range(stages)) for i in range(pairs)]
    placement = (*down, *(tuple(stages - 1 - device for device in row) for row in down))
    units = _deal(stages, microbatches, 2 * pairs, doubled=concat == "doubling")
    replica_of = [0] * microbatches
    for unit in units:
        for replica, items in enumerate(unit):
            for microbatch in (m for item in items for m in item if m >= 0):
                replica_of[microbatch] = replica
    actions = tuple(
        _row(_pattern(placement, device), units, halves=concat == "halving", each=handover == "each")
        for device in range(stages)
    )
    options: dict[str, Option] = {"pairs": pairs, "concat": concat, "recompute": recompute, "sync": sync}
    if handover != "batch":
        options["handover"] = handover
    return Schedule(
        "chimera",
        stages,
        stages,
        microbatches,
        placement,
        tuple(replica_of),
        actions,
        options,
        sync=cast(Sync, sync),
        recompute=recompute,
    )


def _check(stages: int, pairs: int) -> None:
    if stages % 2:
        raise InputError(
            f"{stages} stages",
            "Chimera pairs a down with an up pipeline and needs an even number",
            f"use {stages + 1} stages" + (f" or {stages - 1}" if stages > 1 else ""),
        )
    if pairs < 1 or (stages // 2) % pairs:
        fitting = ", ".join(str(f) for f in range(1, stages // 2 + 1) if stages // 2 % f == 0)
        raise InputError(f"pairs = {pairs}", f"does not divide D/2 = {stages // 2}", f"use one of {fitting}")


def _deal(depth: int, microbatches: int, pipelines: int, *, doubled: bool) -> list[Unit]:
    """Units of D items, doubled while 2D micro-batches are left; as even over the pipelines as can be."""
    units: list[Unit] = []
    first = 0
    while first < microbatches:
        left = microbatches - first
        span = 2 if doubled and left >= 2 * depth else 1
        items = min(depth, left // span)
        unit: Unit = []
        for replica in range(pipelines):
            after = first + span * (items // pipelines + (replica < items % pipelines))
            unit.append([(m, m + 1 if span == 2 else -1) for m in range(first, after, span)])
            first = after
        units.append(unit)
    return units


def _pattern(placement: tuple[tuple[int, ...], ...], device: int) -> list[Slot]:
    """The 2D slots of a device, sorted: D items, each with a forward and a backward."""
    depth = len(placement[0])
    slots = []
    for replica, row in enumerate(placement):
        stage = row.index(device)
        for place in range(depth // len(placement)):
            for slot, backward in ((stage, False), (2 * depth - 1 - stage, True)):
                delay, residue = divmod(slot + 2 * place, 2 * depth)
                slots.append(Slot(residue, delay, replica, stage, place, backward))
    return sorted(slots)


def _row(pattern: list[Slot], units: list[Unit], *, halves: bool, each: bool) -> tuple[Action, ...]:
    """The row of a device: the pattern once per unit, and once more for what the last one delays."""
    row: list[Action] = []
    nothing: Unit = [[] for _ in pattern]
    for now, before in zip([*units, nothing], [nothing, *units], strict=True):
        for _, delay, replica, stage, place, backward in pattern:
            items = (before if delay else now)[replica]
            if place >= len(items):
                continue
            microbatch, also = items[place]
            if not backward and each and also >= 0:
                row += (Action(stage, Kind.F, microbatch), Action(stage, Kind.F, also))
            elif not backward:
                row.append(Action(stage, Kind.F, microbatch, also))
            elif halves:
                row += (Action(stage, Kind.B, microbatch, -1, 0), Action(stage, Kind.B, microbatch, -1, 1))
            else:
                row.append(Action(stage, Kind.B, microbatch))
                if also >= 0:
                    row.append(Action(stage, Kind.B, also))
    return tuple(row)
