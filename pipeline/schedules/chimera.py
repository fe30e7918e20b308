"""Chimera: bidirectional pipelines (Li and Hoefler, SC'21, arXiv 2107.06925).

f down pipelines and f up pipelines of the same model share D devices: down pipeline i puts stage s on
device (i D/f + s) mod D, up pipeline i in exactly the reverse order. A unit of D items is dealt to
the 2f pipelines, D/(2f) each. In unit slots the k-th item of a pipeline runs its forward of stage s
in slot s + 2k and its backward in slot 2D-1-s + 2k; a device's slots then never collide, nor do
those of units that follow at a distance of 2D slots: modulo 2D they cover every slot once.

An item is a micro-batch (`direct`), two in one forward and a backward each (`doubling`), or one
with its backward in two halves (`halving`); the last two make forward and backward slots equal, and
intermediate bubbles vanish. With free messages and N = K D:
direct (f = 1, B >= F): (D-2+2K) F + K (2D-2) B;
doubling (B = 2F, N a multiple of 2D): 3N + 2(D-2) forwards' time, so its bubble does not grow with N;
halving (B = 2F): 3N + (D-2). Table 2's (D-2)/(2N+D-2) for both counts F = B slots; at B = 2F it is
an approximation (D = 4, N = 8 doubled: 1/7, not 1/9).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from pipeline.actions import Action, Kind
from pipeline.errors import InputError
from pipeline.schedule import Option, Schedule, Sync
from pipeline.schedules import OptionSpec, register

Rows = list[list[tuple[int, int, Action]]]


class Item(NamedTuple):
    """What passes through a pipeline together: one micro-batch, or two doubled in the forward."""

    unit: int
    place: int
    """k, its place among the items of its unit and pipeline"""
    replica: int
    microbatches: tuple[int, ...]


@register(
    "chimera",
    source="Chimera, SC'21, arXiv 2107.06925",
    constraints="even D; pairs divides D/2",
    bubble="N=D: (D-2)/(3N/2+D-2) at B=2F",
    activations="(D - D/2f + 1) .. D; doubling twice that",
    options={
        "pairs": OptionSpec(1, None, "f, pairs of pipelines; divides D/2 (f = D/2 degrades to data parallelism)"),
        "concat": OptionSpec("direct", ("direct", "doubling", "halving"), "how more than D micro-batches follow"),
        "recompute": OptionSpec(False, (False, True), "backwards run the forward again"),
        "sync": OptionSpec("eager-opt", ("end", "eager", "eager-opt"), "when gradients are all-reduced"),
    },
)
def chimera(
    stages: int,
    microbatches: int,
    pairs: int = 1,
    concat: str = "direct",
    recompute: bool = False,
    sync: str = "eager-opt",
) -> Schedule:
    """Any N >= 1: units of D items (2D micro-batches when doubling) and a last, partial one.

    Replicas are numbered down pipelines first, then up. Raises InputError for odd D and for pairs
    that do not divide D/2.
    """
    _check(stages, pairs)
    down = [tuple((i * stages // pairs + s) % stages for s in range(stages)) for i in range(pairs)]
    placement = (*down, *(tuple(stages - 1 - device for device in row) for row in down))
    rows: Rows = [[] for _ in range(stages)]
    replica_of = [0] * microbatches
    for item in _deal(stages, microbatches, 2 * pairs, doubled=concat == "doubling"):
        for microbatch in item.microbatches:
            replica_of[microbatch] = item.replica
        _place(rows, item, placement[item.replica], halves=concat == "halving")
    actions = tuple(tuple(action for _, _, action in sorted(row)) for row in rows)
    options: dict[str, Option] = {"pairs": pairs, "concat": concat, "recompute": recompute, "sync": sync}
    return Schedule(
        "chimera", stages, stages, microbatches, placement, tuple(replica_of), actions,
        options, sync=cast(Sync, sync), recompute=recompute,
    )  # fmt: skip


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


def _deal(depth: int, microbatches: int, pipelines: int, *, doubled: bool) -> Iterator[Item]:
    """Units of D items, doubled while 2D micro-batches are left; as even over the pipelines as can be."""
    first = unit = 0
    while first < microbatches:
        left = microbatches - first
        span = 2 if doubled and left >= 2 * depth else 1
        items = min(depth, left // span)
        for replica in range(pipelines):
            share = items // pipelines + (replica < items % pipelines)
            for place in range(share):
                yield Item(unit, place, replica, tuple(range(first, first + span)))
                first += span
        unit += 1


def _place(rows: Rows, item: Item, devices: tuple[int, ...], *, halves: bool) -> None:
    """Puts an item's actions of all stages into the slots of their devices."""
    depth = len(devices)
    base = 2 * depth * item.unit + 2 * item.place
    also = item.microbatches[1] if len(item.microbatches) > 1 else -1
    for stage, device in enumerate(devices):
        row = rows[device]
        row.append((base + stage, 0, Action(stage, Kind.F, item.microbatches[0], also)))
        slot = base + 2 * depth - 1 - stage
        backwards = [(m, -1) for m in item.microbatches]
        if halves:
            backwards = [(item.microbatches[0], 0), (item.microbatches[0], 1)]
        for turn, (microbatch, half) in enumerate(backwards):
            row.append((slot, turn, Action(stage, Kind.B, microbatch, -1, half)))
