"""A schedule of one's own: the order in a file, beside those of the catalogue."""

from __future__ import annotations

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import OptionSpec, register
from chimera.pipeline.soundness.check import check


@register(
    "custom",
    source="a file: torch's schedule CSV, or this project's JSON",
    constraints="D and N are the file's; it must be sound",
    bubble="whatever it does",
    activations="whatever it keeps",
    options={"file": OptionSpec("", None, "the file with every device's order (required)")},
)
def custom(stages: int, microbatches: int, file: str = "") -> Schedule:
    """The schedule in `file`, checked; where a name is asked for, the file's path means the same.

    Raises InputError without a file, for one that cannot be read, or that has other numbers of
    devices or micro-batches; ScheduleError for an unsound one.
    """
    from chimera.pipeline.files.schedule_file import read_schedule  # noqa: PLC0415 - loads pydantic, which no other schedule needs

    if not file:
        raise InputError("custom without a file", "its order is nowhere else", "give --set file=PATH")
    schedule = read_schedule(file)
    check(schedule)
    given, own = (stages, microbatches), (schedule.devices, schedule.microbatches)
    if given != own:
        raise InputError(
            f"custom on {stages} devices with {microbatches} micro-batches",
            f"{file} has {own[0]} devices and {own[1]} micro-batches",
            f"give --stages {own[0]} --microbatches {own[1]}",
        )
    return schedule
