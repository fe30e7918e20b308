"""Whether what the ranks of a dry run handed to torch fits together."""

from __future__ import annotations

__all__ = ["refuse_mismatch", "refuse_reductions"]

from collections import defaultdict
from collections.abc import Sequence

from chimera.executor.iteration.mail import Handed
from chimera.pipeline.errors import RunError
from chimera.pipeline.grid import Grid
from chimera.pipeline.schedule import Schedule


def refuse_mismatch(handed: Sequence[Sequence[Handed]]) -> None:
    """Raises RunError unless every ordered pair of ranks sends and receives the same, in the same order."""
    ends: dict[bool, dict[tuple[int, int], list[tuple[str, int]]]] = {True: defaultdict(list), False: defaultdict(list)}
    for rank, messages in enumerate(handed):
        for each in messages:
            pair = (rank, each.peer) if each.sending else (each.peer, rank)
            ends[each.sending][pair].append((str(each.receive), each.size_bytes))
    for source, target in sorted({*ends[True], *ends[False]}):
        sent, received = (ends[sending][source, target] for sending in (True, False))
        where = f"from rank {source} to rank {target}"
        for number, (one, other) in enumerate(zip(sent, received, strict=False)):
            if one != other:
                given = f"message {number} {where} is {one[0]} of {one[1]} bytes"
                raise RunError(given, f"rank {target} expects {other[0]} of {other[1]} bytes")
        if len(sent) != len(received):
            raise RunError(f"{len(sent)} messages {where}", f"rank {target} receives {len(received)}")


def refuse_reductions(schedule: Schedule, grid: Grid, all_reduces: Sequence[Sequence[int]]) -> None:
    """Raises RunError unless the members of each group launch its all-reduces (stages, by rank) in one order."""
    launched: dict[tuple[int, ...], dict[int, list[int]]] = defaultdict(dict)
    for stage in range(schedule.stages):
        devices = schedule.replica_devices(stage)
        members = grid.replica_ranks(schedule, stage)
        for rank in members:
            launched[members].setdefault(
                rank, [other for other in all_reduces[rank] if schedule.replica_devices(other) == devices]
            )
    for members, orders in launched.items():
        for rank in members:
            if orders[rank] != orders[members[0]]:
                given = f"rank {members[0]} all-reduces stages {orders[members[0]]} with ranks {list(members)}"
                raise RunError(given, f"rank {rank} does stages {orders[rank]}")
