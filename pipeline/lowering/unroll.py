"""Iterations back to back: what an asynchronous schedule does between its first fill and its last drain."""

from __future__ import annotations

__all__ = ["repeated", "unrolled", "unrolled_plan"]

from collections import defaultdict
from dataclasses import replace
from itertools import chain, zip_longest

from chimera.pipeline.actions import SENDS, Action, Kind, Overlap, Step
from chimera.pipeline.errors import ScheduleError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Plan, Schedule

_Row = tuple[Step, ...]


def unrolled_plan(schedule: Schedule, iterations: int, *, width: int = 1) -> Plan:
    """The plan of so many iterations without a flush between them, micro-batches numbered on.

    Fills overlap drains (`unrolled`) unless devices would then wait for one another; each device
    then only starts its next iteration when its last one is done. PipeDream steps after every
    backward, as ever; with update="2bw" a stage is all-reduced and stepped behind the last backward
    of each iteration (PipeDream-2BW, arXiv 2006.09503, section 3.1).
    """
    try:
        plan = lower(unrolled(schedule, iterations), width=width)
    except ScheduleError:
        plan = lower(repeated(schedule, iterations), width=width)
    return plan if schedule.update == "pipedream" else _stepped(plan, schedule.microbatches, width)


def unrolled(schedule: Schedule, iterations: int) -> Schedule:
    """Iterations whose fills overlap the drains before them: of 1F1B, 1F1B with so many times the micro-batches.

    Behind each action of a device's drain (after its last forward) stands one of the next
    iteration's fill (before its first backward); no more micro-batches are in flight than before.
    """
    rows = [_joined([_numbered(row, k * schedule.microbatches) for k in range(iterations)]) for row in schedule.actions]
    return _longer(schedule, iterations, rows)


def repeated(schedule: Schedule, iterations: int) -> Schedule:
    """Iterations one behind the other on each device, devices not waiting for one another."""
    copies = [[_numbered(row, k * schedule.microbatches) for k in range(iterations)] for row in schedule.actions]
    return _longer(schedule, iterations, [tuple(chain.from_iterable(each)) for each in copies])


def _longer(schedule: Schedule, iterations: int, rows: list[_Row]) -> Schedule:
    replica_of = schedule.replica_of * iterations
    return replace(schedule, microbatches=len(replica_of), replica_of=replica_of, actions=tuple(rows))


def _numbered(row: _Row, first: int) -> _Row:
    """The same actions for micro-batches that are numbered from `first`."""
    return tuple(
        _later(action, first)
        if isinstance(action, Action)
        else Overlap(_later(action.forward, first), _later(action.backward, first))
        for action in row
    )


def _later(action: Action, first: int) -> Action:
    also = action.also + first if action.also >= 0 else action.also
    return action._replace(microbatch=action.microbatch + first, also=also)


def _joined(copies: list[_Row]) -> _Row:
    """Every copy's drain in turns with the next one's fill."""
    together: list[Step] = []
    drain: _Row = ()
    for row in copies:
        forwards = [place for place, action in enumerate(row) if _forward(action)]
        fill = next((place for place, action in enumerate(row) if not _forward(action)), len(row))
        end = max(forwards[-1] + 1 if forwards else 0, fill)
        together += (action for pair in zip_longest(drain, row[:fill]) for action in pair if action is not None)
        together += row[fill:end]
        drain = row[end:]
    return (*together, *drain)


def _forward(action: Step) -> bool:
    return any(part.kind is Kind.F for part in action.parts)


def _stepped(plan: Plan, microbatches: int, width: int) -> Plan:
    """All-reduces and steps behind each stage's last backward of every iteration but the last, which has its own."""
    inserted = [_updates(plan, row, microbatches, width) for row in plan.actions]
    rows = [
        tuple(each for place, action in enumerate(row) for each in (action, *more.get(place, ())))
        for row, more in zip(plan.actions, inserted, strict=True)
    ]
    order: list[int] = []
    position = [0] * len(rows)
    for device in plan.order:
        order += [device] * (1 + len(inserted[device].get(position[device], ())))
        position[device] += 1
    return Plan(plan.schedule, tuple(rows), tuple(order))


def _updates(plan: Plan, row: _Row, microbatches: int, width: int) -> dict[int, list[Action]]:
    """What comes behind which position of a row."""
    last: dict[tuple[int, int], int] = {}
    for place, action in enumerate(row):
        for part in action.parts:
            if part.kind in (Kind.B, Kind.W):
                last[part.microbatch // microbatches, part.stage] = place
    behind: dict[int, list[Action]] = defaultdict(list)
    for (iteration, stage), place in sorted(last.items()):
        if (iteration + 1) * microbatches == plan.schedule.microbatches:
            continue
        while place + 1 < len(row) and row[place + 1].kind in SENDS:
            place += 1
        if width * len(plan.schedule.replica_devices(stage)) > 1:
            behind[place].append(Action(stage, Kind.REDUCE_GRAD))
        behind[place].append(Action(stage, Kind.STEP))
    return behind
