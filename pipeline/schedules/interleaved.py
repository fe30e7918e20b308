"""Interleaved 1F1B and breadth-first: several chunks of the model on every device.

Stage s lives on device s mod p; a device holds v chunks. Interleaved 1F1B (arXiv 2104.04473) walks
groups of g micro-batches through all chunks and warms up with (v-1) g + 2 (p-1-r) of them on device
r; breadth-first (arXiv 2211.05953) runs all micro-batches of a chunk before the next chunk. Bubble
of both: (p-1)(F+B)/v, with F and B those of all chunks of a device.
"""

from __future__ import annotations

from pipeline.actions import Action, Kind
from pipeline.errors import InputError
from pipeline.schedule import Schedule
from pipeline.schedules import OptionSpec, register

_CHUNKS = OptionSpec(2, None, "model chunks (stages) on every device")


@register(
    "interleaved",
    aliases=("interleaved-1f1b",),
    source="Megatron-LM, arXiv 2104.04473",
    constraints="N a multiple of the group size, v >= 1",
    bubble="(p-1)(F+B)/v",
    activations="(v-1)g + 2(p-1-r) + 1 chunks",
    options={"v": _CHUNKS, "group": OptionSpec(0, None, "micro-batches a group, at least D; 0 means D")},
)
def interleaved(stages: int, microbatches: int, v: int = 2, group: int = 0) -> Schedule:
    """Megatron's order for p = `stages` devices of v chunks each.

    Raises InputError for v < 1, a group smaller than p, or N not a multiple of the group.
    """
    size = group or stages
    _check(stages, microbatches, v, size)
    rows = []
    for device in range(stages):
        forwards = [Action(c * stages + device, Kind.F, m) for c, m in _visits(microbatches, v, size)]
        backwards = [Action((v - 1 - c) * stages + device, Kind.B, m) for c, m in _visits(microbatches, v, size)]
        warm_up = min((v - 1) * size + 2 * (stages - 1 - device), len(forwards))
        row = forwards[:warm_up]
        for index, backward in enumerate(backwards):
            if warm_up + index < len(forwards):
                row.append(forwards[warm_up + index])
            row.append(backward)
        rows.append(tuple(row))
    return _looped("interleaved", stages, microbatches, v, tuple(rows), {"v": v, "group": size})


@register(
    "breadth-first",
    aliases=("looped-bfs",),
    source="Breadth-First Pipeline Parallelism, arXiv 2211.05953",
    constraints="v >= 1",
    bubble="(p-1)(F+B)/v when N >= D",
    activations="m v chunks",
    options={"v": _CHUNKS},
)
def breadth_first(stages: int, microbatches: int, v: int = 2) -> Schedule:
    """All micro-batches of a chunk before the next chunk; backwards in the reverse order of both."""
    _check(stages, microbatches, v, 0)
    rows = tuple(
        (
            *(Action(c * stages + device, Kind.F, m) for c in range(v) for m in range(microbatches)),
            *(
                Action(c * stages + device, Kind.B, m)
                for c in reversed(range(v))
                for m in reversed(range(microbatches))
            ),
        )
        for device in range(stages)
    )
    return _looped("breadth-first", stages, microbatches, v, rows, {"v": v})


def _visits(microbatches: int, chunks: int, size: int) -> list[tuple[int, int]]:
    """(chunk, micro-batch) in Megatron's order: group by group, each through all chunks."""
    return [
        (chunk, m)
        for first in range(0, microbatches, size)
        for chunk in range(chunks)
        for m in range(first, first + size)
    ]


def _check(stages: int, microbatches: int, chunks: int, size: int) -> None:
    if chunks < 1:
        raise InputError(f"v = {chunks}", "leaves a device without a chunk", "use v >= 1")
    if size and size < stages:
        raise InputError(f"group = {size} on {stages} devices", "would wait for itself", f"use a group of {stages} or more")
    if size and microbatches % size:
        raise InputError(
            f"{microbatches} micro-batches in groups of {size}",
            "leave an incomplete group",
            f"use a multiple of {size}, such as {(microbatches // size + 1) * size}",
        )


def _looped(
    name: str, stages: int, microbatches: int, v: int, rows: tuple[tuple[Action, ...], ...], options: dict[str, int]
) -> Schedule:
    placement = (tuple(stage % stages for stage in range(v * stages)),)
    return Schedule(name, v * stages, stages, microbatches, placement, (0,) * microbatches, rows, options)
