"""Which part of the model a bar belongs to, so that directions and chunks get shades of their own."""

from __future__ import annotations

__all__ = ["Parts", "parts_of"]

from collections import defaultdict
from dataclasses import dataclass

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Parts:
    """Every device holds `count` (replica, stage) pairs at most; `noun` says what tells them apart."""

    replica_of: dict[int, int]
    index: dict[tuple[int, int, int], int]
    """(device, replica, stage) -> 0..count-1"""
    count: int
    noun: str

    def of(self, device: int, action: Action) -> int:
        """The part that a compute action of a device works on; 0 if unknown."""
        return self.index.get((device, self.replica_of.get(action.microbatch, 0), action.stage), 0)


def parts_of(timeline: Timeline) -> Parts:
    """Found from where micro-batches go: those that take the same devices share a replica.

    Replicas are numbered by their devices, that of stage 0 first, as in a placement.
    """
    paths: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for span in timeline.spans:
        for part in span.action.parts:
            if part.kind is Kind.F:
                for microbatch in part.microbatches:
                    paths[microbatch].add((part.stage, span.device))
    routes = {microbatch: tuple(sorted(path)) for microbatch, path in paths.items()}
    replicas = {route: number for number, route in enumerate(sorted(set(routes.values())))}
    held: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for route, replica in replicas.items():
        for stage, device in route:
            held[device].add((replica, stage))
    index = {(device, *pair): position for device, pairs in held.items() for position, pair in enumerate(sorted(pairs))}
    by_replica = len(replicas) > 1 and all(part == replica for (_, replica, _), part in index.items())
    return Parts(
        replica_of={microbatch: replicas[route] for microbatch, route in routes.items()},
        index=index,
        count=max((len(pairs) for pairs in held.values()), default=1),
        noun="pipeline" if by_replica else "chunk",
    )
