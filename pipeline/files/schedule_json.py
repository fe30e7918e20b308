"""Schedules and plans as our own JSON, which can say everything (schema version 1)."""

from __future__ import annotations

__all__ = ["parse_document", "plan_json", "schedule_json"]

import json
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from chimera.pipeline.actions import Step, parse_action
from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.recomputation import stages_of
from chimera.pipeline.schedule import Option, Plan, Schedule, Sync, Update

SCHEMA_VERSION = 1


class ScheduleDocument(BaseModel):
    """The file: `placement[replica][stage]` a device, `replica_of[microbatch]` a replica, `actions[device]` text.

    `lowered` says that the actions include messages, all-reduces and steps; `order` is then the
    global issue order (device by device), or left out.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: int
    schedule: str
    options: dict[str, bool | int | float | str] = {}
    stages: PositiveInt
    devices: PositiveInt
    microbatches: PositiveInt
    placement: list[list[NonNegativeInt]]
    replica_of: list[NonNegativeInt]
    actions: list[list[str]]
    sync: Sync = "end"
    update: Update = "flush"
    recompute: bool | list[NonNegativeInt] = False
    lowered: bool = False
    order: list[NonNegativeInt] | None = None


class Parsed(NamedTuple):
    """A schedule (compute actions only), every row as the file has it, and its order if it is a plan."""

    schedule: Schedule
    rows: tuple[tuple[Step, ...], ...]
    lowered: bool
    order: tuple[int, ...] | None


def schedule_json(schedule: Schedule) -> dict[str, Any]:
    """The document of a schedule; `read_schedule` gives back an equal one."""
    return _document(schedule, schedule.actions)


def plan_json(plan: Plan) -> dict[str, Any]:
    """The document of a lowered schedule; `read_plan` gives back an equal one."""
    return {**_document(plan.schedule, plan.actions), "lowered": True, "order": list(plan.order)}


def _document(schedule: Schedule, rows: tuple[tuple[Step, ...], ...]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "schedule": schedule.name,
        "options": dict(schedule.options),
        "stages": schedule.stages,
        "devices": schedule.devices,
        "microbatches": schedule.microbatches,
        "placement": [list(row) for row in schedule.placement],
        "replica_of": list(schedule.replica_of),
        "sync": schedule.sync,
        "update": schedule.update,
        "recompute": schedule.recompute if isinstance(schedule.recompute, bool) else list(schedule.recompute),
        "actions": [list(map(str, row)) for row in rows],
    }


def parse_document(text: str, source: str) -> Parsed:
    """Reads the JSON text of `source`; raises InputError that names the place of the first mistake."""
    document = _validate(_load(text, source), source)
    rows = tuple(_row(device, row, source) for device, row in enumerate(document.actions))
    options: dict[str, Option] = dict(document.options)
    again = document.recompute
    schedule = Schedule(
        name=document.schedule,
        stages=document.stages,
        devices=document.devices,
        microbatches=document.microbatches,
        placement=tuple(map(tuple, document.placement)),
        replica_of=tuple(document.replica_of),
        actions=tuple(tuple(action for action in row if action.is_compute) for row in rows),
        options=options,
        sync=document.sync,
        update=document.update,
        recompute=again if isinstance(again, bool) else stages_of(again, document.stages),
    )
    order = None if document.order is None else tuple(document.order)
    return Parsed(schedule, rows, document.lowered, order)


def _load(text: str, source: str) -> dict[str, Any]:
    try:
        loaded = json.loads(text)
    except json.JSONDecodeError as error:
        cut = error.msg if text.rstrip().endswith(("}", "]")) else "the file is cut off"
        raise InputError(
            f"{source}: not JSON at line {error.lineno}, column {error.colno}", cut, "write the file again"
        ) from None
    except RecursionError:
        raise InputError(f"{source}: nested too deeply", "it is no schedule") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{source}: holds a {type(loaded).__name__}", "a schedule is one JSON object")
    version = loaded.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise InputError(
            f"{source}: schema_version is {version!r}",
            f"this version reads schema {SCHEMA_VERSION}",
            "write the file again with `chimera schedule ... --format json`",
        )
    return loaded


def _validate(loaded: dict[str, Any], source: str) -> ScheduleDocument:
    try:
        return ScheduleDocument.model_validate(loaded)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{source}: {place}", first["msg"], "see `chimera schedule --help` for the format") from None


def _row(device: int, row: list[str], source: str) -> tuple[Step, ...]:
    actions = []
    for position, text in enumerate(row):
        try:
            actions.append(parse_action(text))
        except InputError as error:
            where = f"{source}: device {device}, position {position}: {error.given}"
            raise InputError(where, error.derived, error.remedy) from None
    return tuple(actions)
