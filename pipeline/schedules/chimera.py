"""Chimera: bidirectional pipelines (SC'21, arXiv 2107.06925), one pair, direct concatenation."""

from __future__ import annotations

from pipeline.actions import Action, Kind
from pipeline.errors import InputError
from pipeline.schedule import Schedule
from pipeline.schedules import OptionSpec, register


@register("chimera", source="Chimera, arXiv 2107.06925", constraints="even D", options={"sync": OptionSpec("eager-opt", ("end", "eager", "eager-opt"))})
def chimera(stages: int, microbatches: int, sync: str = "eager-opt") -> Schedule:
    """Unit slots: forward of stage s in s+2k, backward in 2D-1-s+2k; units follow at 2D slots."""
    depth = stages
    if depth % 2:
        raise InputError(f"{depth} stages", "Chimera pairs a down with an up pipeline and needs an even number", f"use {depth + 1} or {depth - 1} stages")
    placement = (tuple(range(depth)), tuple(reversed(range(depth))))
    slots: list[list[tuple[int, Action]]] = [[] for _ in range(depth)]
    replica_of: list[int] = []
    for first in range(0, microbatches, depth):
        size = min(depth, microbatches - first)
        offset = 2 * first
        for replica, count in ((0, (size + 1) // 2), (1, size // 2)):
            for k in range(count):
                m = len(replica_of)
                replica_of.append(replica)
                for stage in range(depth):
                    row = slots[placement[replica][stage]]
                    row.append((offset + stage + 2 * k, Action(stage, Kind.F, m)))
                    row.append((offset + 2 * depth - 1 - stage + 2 * k, Action(stage, Kind.B, m)))
    rows = tuple(tuple(action for _, action in sorted(row)) for row in slots)
    return Schedule("chimera", depth, depth, microbatches, placement, tuple(replica_of), rows, {"sync": sync}, sync=sync)  # type: ignore[arg-type]
