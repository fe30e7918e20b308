"""Which stages run their forward again in the backward instead of keeping activations."""

from __future__ import annotations

__all__ = ["Recompute", "recomputing", "stages_of"]

from dataclasses import replace

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Option, Recompute, Schedule

_WORDS = {"all": True, "true": True, "none": False, "false": False}
_REMEDY = "give all, none, or stages such as 0,2"


def recomputing(schedule: Schedule, given: Option) -> Schedule:
    """The schedule with recomputation as an option says: all, none (or true, false), or stages such as "0,2".

    Raises InputError for anything else, and for stages that the schedule does not have.
    """
    if isinstance(given, bool):
        chosen: Recompute = given
    elif isinstance(given, str) and given.lower() in _WORDS:
        chosen = _WORDS[given.lower()]
    else:
        chosen = stages_of(_numbers(given), schedule.stages)
    shown = chosen if isinstance(chosen, bool) else ",".join(map(str, chosen))
    options = {**schedule.options, "recompute": shown}
    return replace(schedule, recompute=chosen, options=options)


def stages_of(numbers: list[int], stages: int) -> Recompute:
    """Stages as a schedule has them: ascending, or True for all and False for none; InputError beyond the last one."""
    for number in numbers:
        if not 0 <= number < stages:
            raise InputError(f"recompute of stage {number}", f"there are stages 0 to {stages - 1}", _REMEDY)
    distinct = tuple(sorted(set(numbers)))
    return distinct if 0 < len(distinct) < stages else bool(distinct)


def _numbers(given: Option) -> list[int]:
    if not isinstance(given, str):
        raise InputError(f"recompute = {given!r}", "says neither all, none nor which stages", _REMEDY)
    try:
        return [int(part) for part in given.split(",")]
    except ValueError as error:
        raise InputError(f"recompute = {given}", "says neither all, none nor which stages", _REMEDY) from error
