"""Interleaved 1F1B and breadth-first: several chunks of the model on every device.

Stage s lives on device s mod p; a device holds v chunks. Interleaved 1F1B (arXiv 2104.04473) walks
groups of g micro-batches through all chunks and warms up with (v-1) g + 2 (p-1-r) of them on device
r; breadth-first (arXiv 2211.05953) runs all micro-batches of a chunk before the next chunk. Bubble
of both for m >= p: (p-1)(F+B)/v, with F and B those of all chunks of a device; for fewer
micro-batches it is longer. Activations in chunks: warm-up + 1 for interleaved, m v for breadth-first.

Groups: Megatron's are p micro-batches; torch divides m evenly by m // p rounds and refuses the rest.
We make m // p groups as even as can be (torch's where it has any, Megatron's where p divides m) and
take g of the largest for the warm-up: sound, and with the same bubble, for every m >= p.
"""

from __future__ import annotations

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.order import walk
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import OptionSpec, register

_CHUNKS = OptionSpec(2, None, "model chunks (stages) on every device")


@register(
    "interleaved",
    aliases=("interleaved-1f1b",),
    source="Megatron-LM, arXiv 2104.04473",
    constraints="v >= 1; a group below D, given or left over, only where its order can run",
    bubble="(p-1)(F+B)/v when N >= D",
    activations="(v-1)g + 2(p-1-r) + 1 chunks",
    options={"v": _CHUNKS, "group": OptionSpec(0, None, "micro-batches a group; 0: as near D as evenly can be")},
)
def interleaved(stages: int, microbatches: int, v: int = 2, group: int = 0) -> Schedule:
    """Megatron's order for p = `stages` devices of v chunks each.

    Raises InputError for v < 1, and for groups smaller than p (given, or left over) whose devices would wait for one
    another. Megatron-core refuses all of those; some of them run.
    """
    _check_chunks(v)
    sizes = _groups(stages, microbatches, group)
    visits = _visits(sizes, v)
    rows = []
    for device in range(stages):
        forwards = [Action(c * stages + device, Kind.F, m) for c, m in visits]
        backwards = [Action((v - 1 - c) * stages + device, Kind.B, m) for c, m in visits]
        warm_up = min((v - 1) * max(sizes) + 2 * (stages - 1 - device), len(forwards))
        row = forwards[:warm_up]
        for index, backward in enumerate(backwards):
            if warm_up + index < len(forwards):
                row.append(forwards[warm_up + index])
            row.append(backward)
        rows.append(tuple(row))
    if min(sizes) < stages:
        _check_small_groups(rows, sizes, stages, v)
    return _looped("interleaved", stages, microbatches, v, tuple(rows), {"v": v, "group": group})


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
    _check_chunks(v)
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


def _groups(devices: int, microbatches: int, group: int) -> list[int]:
    """The sizes of the groups of micro-batches; where none is given, at least `devices` each if there are as many."""
    if group < 0:
        raise InputError(f"group = {group}", "is no number of micro-batches", "use 1 or more, or 0 for groups near D")
    if not group:
        rounds = max(microbatches // devices, 1)
        return [microbatches // rounds + (index < microbatches % rounds) for index in range(rounds)]
    complete, rest = divmod(microbatches, group)
    return [group] * complete + [rest] * bool(rest)


def _check_small_groups(rows: list[tuple[Action, ...]], sizes: list[int], devices: int, chunks: int) -> None:
    """Whether devices go through groups smaller than their number without waiting for one another."""
    if not walk(rows, chunks * devices).missing:
        return
    raise InputError(
        f"{sum(sizes)} micro-batches in groups of {', '.join(map(str, dict.fromkeys(sizes)))} on {devices} devices",
        "a group of fewer micro-batches than devices waits for its own results here",
        f"use groups of {devices} or more that leave no smaller rest, or leave group out",
    )


def _visits(sizes: list[int], chunks: int) -> list[tuple[int, int]]:
    """(chunk, micro-batch) in Megatron's order: group by group, each through all chunks."""
    visits = []
    first = 0
    for size in sizes:
        visits += [(chunk, m) for chunk in range(chunks) for m in range(first, first + size)]
        first += size
    return visits


def _check_chunks(chunks: int) -> None:
    if chunks < 1:
        raise InputError(f"v = {chunks}", "leaves a device without a chunk", "use v >= 1")


def _looped(
    name: str, stages: int, microbatches: int, v: int, rows: tuple[tuple[Action, ...], ...], options: dict[str, int]
) -> Schedule:
    placement = (tuple(stage % stages for stage in range(v * stages)),)
    return Schedule(name, v * stages, stages, microbatches, placement, (0,) * microbatches, rows, options)
