"""Is a schedule sound? Every micro-batch forward and backward once, in the right place and order."""

from __future__ import annotations

__all__ = ["check", "check_plan"]

from chimera.pipeline.errors import DeadlockError
from chimera.pipeline.lowering.order import walk
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.soundness.coverage import check_coverage, check_grouping
from chimera.pipeline.soundness.cycles import circle, describe
from chimera.pipeline.soundness.deadlock import check_plan
from chimera.pipeline.soundness.shapes import check_numbers, check_shape


def check(schedule: Schedule) -> None:
    """Raises ScheduleError unless the schedule is sound; names device, position, action and reason.

    Sound: shapes and numbers agree; every (stage, micro-batch) has one forward and one backward
    (B, or I and W, whole or in both halves) on the device its placement says; a backward follows
    its forward and a W its I on that device; neighbouring stages group micro-batches and halves
    alike; and no devices wait for one another in a circle (DeadlockError, a ScheduleError).
    `error.device` and `error.position` can be drawn by `chimera.pipeline.files.grid.text_grid(mark=...)`.
    """
    check_shape(schedule)
    check_numbers(schedule)
    check_coverage(schedule)
    check_grouping(schedule)
    _check_circles(schedule)


def _check_circles(schedule: Schedule) -> None:
    """No devices wait for one another."""
    timing = walk(schedule.actions, schedule.stages)
    if not timing.missing:
        return
    positions = [len(starts) for starts in timing.starts]
    waits = {
        device: schedule.device_of(stage, microbatch)
        for device, (stage, _what, microbatch, _half) in timing.missing.items()
    }
    waiting = circle(waits)
    device = waiting[0]
    what = {
        device: f"the {'forward' if what == 'F' else 'backward'} of stage {stage}, micro-batch {microbatch}"
        for device, (stage, what, microbatch, _half) in timing.missing.items()
    }
    raise DeadlockError(
        f"device {device}, position {positions[device]}: {schedule.actions[device][positions[device]]}",
        describe(waiting, positions, schedule.actions, what),
        "reorder one of these devices so that every action comes after what it needs",
        device=device,
        position=positions[device],
        cycle=tuple((device, waits[device]) for device in waiting),
    )
