"""Which schedules `chimera compare` compares, and why the others are left out."""

from __future__ import annotations

__all__ = ["LeftOut", "candidates", "depths"]

from typing import NamedTuple

from chimera.cli.options.selection import parse_settings, settings_of
from chimera.pipeline.errors import ChimeraError, InputError, UnknownNameError
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.schedules import build, catalogue, entry


class LeftOut(NamedTuple):
    """A schedule that does not admit a depth, and why."""

    schedule: str
    stages: int
    reason: str

    def __str__(self) -> str:
        return f"{self.schedule}: {self.reason}"


def depths(given: str) -> list[int]:
    """`8`, or `4,8,16`; InputError for anything else."""
    try:
        return list(dict.fromkeys(int(part) for part in given.split(",")))
    except ValueError as error:
        raise InputError(
            f"--stages {given}", "is not a number of devices, nor several", "write 8, or 4,8,16"
        ) from error


def candidates(
    names: list[str], stages: list[int], microbatches: int, settings: list[str]
) -> tuple[list[Schedule | Plan], list[LeftOut]]:
    """The schedules, and why the others cannot be had; what was named must be possible at one depth at least.

    A setting reaches the schedules that have this option; at least one must.
    """
    chosen = [entry(name) for name in dict.fromkeys(names)] or [item for item in catalogue() if item.name != "custom"]
    keys = {key for item in chosen for key in item.options}
    for setting in settings:
        if (key := setting.partition("=")[0]) not in keys:
            raise UnknownNameError("option of these schedules", key, keys)
    schedules: list[Schedule | Plan] = []
    left_out: list[LeftOut] = []
    for item in chosen:
        own = settings_of(item.name, settings)
        for depth in stages:
            try:
                options = parse_settings(item.name, own)
                schedules.append(build(item.name, stages=depth, microbatches=microbatches, **options))
            except ChimeraError as error:
                if names and len(stages) == 1:
                    raise
                left_out.append(
                    LeftOut(item.name, depth, f"{error.problem} ({error.remedy})" if error.remedy else error.problem)
                )
    if not schedules:
        given = f"D={','.join(map(str, stages))}, N={microbatches}"
        raise InputError(given, "no schedule admits them", left_out[0].reason if left_out else "")
    return schedules, left_out
