"""The timeline's file: JSON with a schema version, units in its field names, strict when read."""

from __future__ import annotations

__all__ = ["SCHEMA_VERSION", "read_timeline", "timeline_json", "write_timeline"]

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from chimera.pipeline.actions import Action, Step, parse_action
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.atomic_file import write_text
from chimera.pipeline.timeline import Category, MemoryEvent, Source, Span, Stream, Timeline, Transfer

SCHEMA_VERSION = 1
_REMEDY = "write the timeline again"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Span(_Strict):
    device: NonNegativeInt
    stream: Stream
    action: str
    start_ns: int
    end_ns: int


class _Transfer(_Strict):
    action: str
    source: NonNegativeInt
    target: NonNegativeInt
    size_bytes: NonNegativeInt
    posted_ns: int
    sent_ns: int
    arrived_ns: int
    needed_ns: int


class _MemoryEvent(_Strict):
    device: NonNegativeInt
    time_ns: int
    category: Category
    delta_bytes: int
    cause: str


class _File(_Strict):
    """The whole file, under the field names of `Timeline`; actions as text."""

    schema_version: int
    source: Source
    schedule: str
    devices: PositiveInt
    end_ns: NonNegativeInt
    spans: list[_Span]
    transfers: list[_Transfer] = []
    memory: list[_MemoryEvent] = []
    peak_memory_bytes: list[NonNegativeInt] = []
    provenance: dict[str, Any] = {}


def timeline_json(timeline: Timeline) -> dict[str, Any]:
    """The JSON-able document of a timeline; `read_timeline` gives back an equal one."""
    return {
        "schema_version": SCHEMA_VERSION,
        "source": timeline.source,
        "schedule": timeline.schedule,
        "devices": timeline.devices,
        "end_ns": timeline.end_ns,
        "spans": [span._asdict() | {"action": str(span.action)} for span in timeline.spans],
        "transfers": [transfer._asdict() | {"action": str(transfer.action)} for transfer in timeline.transfers],
        "memory": [event._asdict() for event in timeline.memory],
        "peak_memory_bytes": list(timeline.peak_memory_bytes),
        "provenance": dict(timeline.provenance),
    }


def write_timeline(timeline: Timeline, path: str | Path) -> None:
    """Writes the timeline's JSON to `path`, whole or not at all; a span or a transfer is a line."""
    fields = [f"{json.dumps(name)}: {_lines(value)}" for name, value in timeline_json(timeline).items()]
    write_text(path, "{\n" + ",\n".join(fields) + "\n}\n")


def _lines(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"
    return json.dumps(value)


def read_timeline(path: str | Path) -> Timeline:
    """The timeline that a file holds; raises InputError that names the place of the first mistake."""
    name = Path(path).name
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"timeline {str(path)!r}", f"cannot be read: {error}", "give a timeline's JSON") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(name, f"is not JSON: {error} (is the file cut off?)", _REMEDY) from error
    file = _validated(document, name)
    _check(file, name)
    return _timeline(file, name)


def _validated(document: object, name: str) -> _File:
    if not isinstance(document, dict):
        raise InputError(f"{name}: holds a {type(document).__name__}", "a timeline is one JSON object", _REMEDY)
    version = document.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        derived = f"this version reads schema_version {SCHEMA_VERSION}"
        raise InputError(f"{name}: schema_version {version!r}", derived, _REMEDY)
    try:
        return _File.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"][0].lower() + first["msg"][1:]
        raise InputError(f"{name}: {place}", message, f"correct {place}, or {_REMEDY}") from error


def _timeline(file: _File, name: str) -> Timeline:
    spans = tuple(
        Span(row.device, row.stream, _action(row.action, f"{name}: spans.{i}"), row.start_ns, row.end_ns)
        for i, row in enumerate(file.spans)
    )
    transfers = tuple(_transfer(row, f"{name}: transfers.{i}") for i, row in enumerate(file.transfers))
    memory = tuple(MemoryEvent(**row.model_dump()) for row in file.memory)
    return Timeline(
        source=file.source,
        schedule=file.schedule,
        devices=file.devices,
        spans=spans,
        end_ns=file.end_ns,
        transfers=transfers,
        memory=memory,
        peak_memory_bytes=tuple(file.peak_memory_bytes),
        provenance=file.provenance,
    )


def _check(file: _File, name: str) -> None:
    """What no single field can say: devices exist, spans end after they start, one peak per device."""
    rows = {
        "spans": [span.device for span in file.spans],
        "transfers": [max(transfer.source, transfer.target) for transfer in file.transfers],
        "memory": [event.device for event in file.memory],
    }
    for field, devices in rows.items():
        for position, device in enumerate(devices):
            if device >= file.devices:
                derived = f"names device {device} of {file.devices} (they start at 0)"
                raise InputError(f"{name}: {field}.{position}", derived, f"correct it, or {_REMEDY}")
    for position, span in enumerate(file.spans):
        if span.end_ns < span.start_ns:
            given = f"{name}: spans.{position}.end_ns = {span.end_ns}"
            raise InputError(given, f"is before its start_ns {span.start_ns}", _REMEDY)
    if len(file.peak_memory_bytes) not in (0, file.devices):
        given = f"{name}: peak_memory_bytes has {len(file.peak_memory_bytes)} values"
        raise InputError(given, f"there are {file.devices} devices", "give one value per device, or none")


def _transfer(row: _Transfer, where: str) -> Transfer:
    action = _action(row.action, where)
    if not isinstance(action, Action):
        raise InputError(f"{where}: action {row.action!r}", "is no message", "give a RECV_F or a RECV_B")
    return Transfer(
        action, row.source, row.target, row.size_bytes, row.posted_ns, row.sent_ns, row.arrived_ns, row.needed_ns
    )


def _action(text: str, where: str) -> Step:
    try:
        return parse_action(text)
    except InputError as error:
        raise InputError(f"{where}: {error.given}", error.derived, error.remedy) from error
