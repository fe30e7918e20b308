"""When everything in a workload happens: what an engine finds out."""

from __future__ import annotations

__all__ = ["Times", "computed_of", "timeline_of"]

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

from chimera.pipeline.metrics import Computed
from chimera.pipeline.timeline import MemoryEvent, Span, Timeline, Transfer
from chimera.simulator.workload.workload import COMPUTE, REDUCE, STEP, Workload

# Half the time of Span(...) and Transfer(...), of which there is one per action.
_span: Callable[[tuple[object, ...]], Span] = partial(tuple.__new__, Span)
_transfer: Callable[[tuple[object, ...]], Transfer] = partial(tuple.__new__, Transfer)


@dataclass(slots=True)
class Times:
    """Nanoseconds from the iteration's start: per device and position, message, collective."""

    starts: list[list[int]]
    ends: list[list[int]]
    posted: list[int]
    sent: list[int]
    arrived: list[int]
    needed: list[int]
    reduces: list[tuple[int, int]] = field(default_factory=list)
    """start and end per collective"""
    end_ns: int = 0

    @classmethod
    def of(cls, workload: Workload) -> Times:
        """All unknown (-1)."""
        count = len(workload.messages)
        rows = [[-1] * len(row) for row in workload.ops]
        return cls(
            starts=rows,
            ends=[list(row) for row in rows],
            posted=[-1] * count,
            sent=[-1] * count,
            arrived=[-1] * count,
            needed=[-1] * count,
            reduces=[(-1, -1)] * len(workload.collectives),
        )


def computed_of(workload: Workload, times: Times) -> list[Computed | None]:
    """What every device computed, for `chimera.pipeline.metrics.judge`: all that a timeline would say about it."""
    rows = zip(times.starts, times.ends, workload.structure.computing, strict=True)
    return [
        Computed.of([starts[position] for position in computing], [ends[position] for position in computing])
        for starts, ends, computing in rows
    ]


def timeline_of(
    workload: Workload, times: Times, memory: tuple[MemoryEvent, ...] = (), peaks: tuple[int, ...] = ()
) -> Timeline:
    """The predicted timeline: spans of computations, all-reduces and optimizer steps, and transfers."""
    schedule = workload.plan.schedule
    spans: list[Span] = []
    for device, ops in enumerate(workload.ops):
        row: list[Span] = []
        for (code, action, _, target), start, end in zip(ops, times.starts[device], times.ends[device], strict=True):
            if code == COMPUTE:
                row.append(_span((device, "compute", action, start, end)))
            elif code == STEP:
                row.append(_span((device, "optimizer", action, start, end)))
            elif code == REDUCE:
                row.append(_span((device, "sync", action, *times.reduces[target])))
        row.sort(key=attrgetter("start_ns"))
        spans += row
    costs = [message.size_bytes for message in workload.message_kinds]
    structure = workload.structure
    sizes = [costs[kind] for kind in structure.wires_alike]
    moments = (times.posted, times.sent, times.arrived, times.needed)
    transfers = map(
        _transfer, zip(structure.receives, structure.sources, structure.targets, sizes, *moments, strict=True)
    )
    return Timeline(
        source="predicted",
        schedule=schedule.name,
        devices=schedule.devices,
        spans=tuple(spans),
        end_ns=times.end_ns,
        transfers=tuple(transfers),
        memory=memory,
        peak_memory_bytes=peaks,
        provenance=workload.profile.provenance,
    )
