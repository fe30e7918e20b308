"""Point at an action of a schedule: the error that names it, and where actions stand."""

from __future__ import annotations

__all__ = ["fault", "places_of"]

from chimera.pipeline.actions import Kind
from chimera.pipeline.errors import ScheduleError
from chimera.pipeline.schedule import Schedule


def fault(schedule: Schedule, device: int, position: int, derived: str, remedy: str = "") -> ScheduleError:
    """`device 2, position 5: 2B3: <derived>`, with device and position to draw it."""
    given = f"device {device}, position {position}: {schedule.actions[device][position]}"
    return ScheduleError(given, derived, remedy, device=device, position=position)


def places_of(schedule: Schedule, stage: int, microbatch: int, kinds: tuple[Kind, ...]) -> list[tuple[int, int]]:
    """Where (device, position) the given kinds of action on (stage, micro-batch) stand."""
    return [
        (device, position)
        for device, row in enumerate(schedule.actions)
        for position, action in enumerate(row)
        for part in action.parts
        if part.stage == stage and part.kind in kinds and microbatch in part.microbatches
    ]
