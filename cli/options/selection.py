"""Which schedule is meant: a name with options, or a file."""

from __future__ import annotations

__all__ = [
    "SETTINGS",
    "check_settings",
    "parse_depths",
    "parse_settings",
    "select",
    "select_plan",
    "select_several",
    "settings_of",
]

from pathlib import Path

import typer

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.schedule import Option, Plan, Schedule
from chimera.pipeline.schedules import OptionSpec, build, catalogue, entry
from chimera.pipeline.soundness.check import check

SETTINGS = typer.Option([], "--set", metavar="KEY=VALUE", help="An option of the schedule; repeatable.")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def select(name: str, stages: int | None, microbatches: int | None, settings: list[str]) -> Schedule:
    """The schedule of a registered name, or of a CSV or JSON file, checked for soundness.

    Raises InputError or UnknownNameError for what does not exist or fit, ScheduleError if unsound.
    """
    if _is_file(name):
        return _read(name, stages, microbatches, settings)
    missing = [flag for flag, value in (("--stages", stages), ("--microbatches", microbatches)) if value is None]
    if missing:
        entry(name)
        raise InputError(
            f"{name} without {missing[0]}", "a schedule needs its depth and micro-batches", f"give {missing[0]}"
        )
    assert stages is not None and microbatches is not None
    return build(name, stages=stages, microbatches=microbatches, **parse_settings(name, settings))


def select_several(
    names: list[str], stages: int | None, microbatches: int | None, settings: list[str]
) -> list[Schedule]:
    """The schedules of these names; a setting reaches those that have this option, and at least one must.

    Raises what `select` does, and InputError for two that would share a name.
    """
    chosen = list(dict.fromkeys(names))
    own = {name: settings_of(name, settings) for name in chosen}
    for setting in settings:
        if not any(setting in kept for kept in own.values()):
            keys = {key for name in chosen if not _is_file(name) for key in entry(name).options}
            raise UnknownNameError(f"option of {', '.join(chosen)}", setting.partition("=")[0], keys)
    schedules = [select(name, stages, microbatches, own[name]) for name in chosen]
    if len({each.name for each in schedules}) < len(schedules):
        raise InputError(f"schedules {', '.join(names)}", "two have the same name", "name each of them once")
    return schedules


def settings_of(name: str, settings: list[str]) -> list[str]:
    """Those that name an option of this schedule; a file has none."""
    return [] if _is_file(name) else [each for each in settings if each.partition("=")[0] in entry(name).options]


def parse_depths(text: str) -> list[int]:
    """`8`, or `4,8,16`; InputError for anything else."""
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise InputError(f"--stages {text}", "is not a number of devices, nor several", "write 8, or 4,8,16") from error


def check_settings(names: list[str], settings: list[str]) -> None:
    """Raises UnknownNameError for a setting that none of these schedules (of all, without names) has."""
    chosen = [entry(name) for name in names] or [item for item in catalogue() if not item.reads_file]
    keys = {key for item in chosen for key in item.options}
    for setting in settings:
        if (key := setting.partition("=")[0]) not in keys:
            raise UnknownNameError("option of these schedules", key, keys)


def select_plan(
    name: str, stages: int | None, microbatches: int | None, settings: list[str], width: int
) -> Schedule | Plan:
    """As `select`, but a file's messages and all-reduces are kept as it has them, if it has any.

    They are those of one pipeline; `width` copies of it need all-reduces of their own.
    """
    schedule = select(name, stages, microbatches, settings)
    if width != 1 or not _is_file(name):
        return schedule
    from chimera.pipeline.files.schedule_file import read_plan

    return read_plan(name)


def _is_file(name: str) -> bool:
    return Path(name).suffix in (".csv", ".json") or Path(name).is_file()


def _read(name: str, stages: int | None, microbatches: int | None, settings: list[str]) -> Schedule:
    from chimera.pipeline.files.schedule_file import read_schedule

    if settings:
        raise InputError(f"--set with the file {name}", "a file is what it is", "drop --set")
    schedule = read_schedule(name)
    check(schedule)
    sizes = (("--stages", stages, schedule.devices), ("--microbatches", microbatches, schedule.microbatches))
    for flag, given, own in sizes:
        if given is not None and given != own:
            raise InputError(f"{flag} {given} with the file {name}", f"which has {own}", f"drop {flag}")
    return schedule


def parse_settings(name: str, settings: list[str]) -> dict[str, Option]:
    """`key=value` pairs typed by the schedule's own options."""
    known = entry(name).options
    found: dict[str, Option] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise InputError(f"--set {setting}", "is not key=value", "write for example --set pairs=2")
        if key not in known:
            raise UnknownNameError(f"option of {name}", key, known)
        found[key] = _typed(key, text, known[key])
    return found


def _typed(key: str, text: str, spec: OptionSpec) -> Option:
    try:
        if spec.kind is bool:
            return _TRUTH[text.lower()]
        return spec.kind(text)
    except (ValueError, KeyError) as error:
        example = spec.default if spec.default is not None else (spec.choices or ("",))[0]
        raise InputError(
            f"--set {key}={text}", f"is not {spec.kind.__name__}", f"give a value such as {example}"
        ) from error
