"""Which schedules compete at a depth, and why the others are left out."""

from __future__ import annotations

__all__ = ["Competitors", "LeftOut", "competitors"]

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from chimera.pipeline.errors import ChimeraError, InputError
from chimera.pipeline.schedule import Option, Schedule
from chimera.pipeline.schedules import Entry, build, catalogue, entry
from chimera.simulator.workload.collector import collector_paused


class LeftOut(NamedTuple):
    """A schedule that does not admit a depth, and why."""

    schedule: str
    stages: int
    reason: str

    def __str__(self) -> str:
        return f"{self.schedule}: {self.reason}"


class Competitors(NamedTuple):
    """The schedules that can be had, and those that cannot."""

    schedules: tuple[Schedule, ...]
    left_out: tuple[LeftOut, ...]


def _defaults(_: Entry) -> Mapping[str, Option]:
    return {}


def competitors(
    names: Iterable[str] | None,
    stages: int | Sequence[int],
    microbatches: int,
    options_of: Callable[[Entry], Mapping[str, Option]] = _defaults,
) -> Competitors:
    """The schedules of these names, of the whole catalogue where there are none, at one or several depths.

    What was named must be possible at one depth at least. `options_of` says with which options an entry
    of the catalogue is built. Raises UnknownNameError for a name, InputError where no schedule is left,
    and whatever refuses a schedule that was named for a single depth.
    """
    depths = (stages,) if isinstance(stages, int) else tuple(dict.fromkeys(stages))
    chosen = [entry(name) for name in dict.fromkeys(names or ())]
    must = bool(chosen) and len(depths) == 1
    schedules: list[Schedule] = []
    left_out: list[LeftOut] = []
    with collector_paused():
        for item in chosen or (each for each in catalogue() if not each.reads_file):
            for depth in depths:
                try:
                    schedules.append(build(item.name, stages=depth, microbatches=microbatches, **options_of(item)))
                except ChimeraError as error:
                    if must:
                        raise
                    left_out.append(LeftOut(item.name, depth, _reason(error)))
    if not schedules:
        given = f"D={','.join(map(str, depths))}, N={microbatches}"
        raise InputError(given, "no schedule admits them", left_out[0].reason if left_out else "")
    return Competitors(tuple(schedules), tuple(left_out))


def _reason(error: ChimeraError) -> str:
    return f"{error.problem} ({error.remedy})" if error.remedy else error.problem
