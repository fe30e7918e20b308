"""When everything in a workload happens: what an engine finds out."""

from __future__ import annotations

__all__ = ["Times", "timeline_of"]

from dataclasses import dataclass, field

from pipeline.timeline import MemoryEvent, Span, Timeline, Transfer
from simulator.workload import OpCode, Workload


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


def timeline_of(
    workload: Workload, times: Times, memory: tuple[MemoryEvent, ...] = (), peaks: tuple[int, ...] = ()
) -> Timeline:
    """The predicted timeline: spans of computations, all-reduces and optimizer steps, and transfers."""
    schedule = workload.plan.schedule
    spans: list[Span] = []
    for device, ops in enumerate(workload.ops):
        row: list[Span] = []
        for op, start, end in zip(ops, times.starts[device], times.ends[device], strict=True):
            if op.code is OpCode.COMPUTE:
                row.append(Span(device, "compute", op.action, start, end))
            elif op.code is OpCode.STEP:
                row.append(Span(device, "optimizer", op.action, start, end))
            elif op.code is OpCode.REDUCE:
                row.append(Span(device, "sync", op.action, *times.reduces[op.target]))
        row.sort(key=_start)
        spans += row
    transfers = [
        Transfer(message.receive, message.source, message.target, message.size_bytes, *moments)
        for message, *moments in zip(
            workload.messages, times.posted, times.sent, times.arrived, times.needed, strict=True
        )
    ]
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


def _start(span: Span) -> int:
    return span.start_ns
