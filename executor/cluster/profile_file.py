"""A cluster profile's file: TOML with strict keys, placeholders, and errors that name the place."""

from __future__ import annotations

__all__ = ["load_cluster", "parse_cluster", "placeholders", "shipped_clusters"]

import getpass
import grp
import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from chimera.executor.cluster.profile import Cluster, Gpus, Network, Nodes, Paths, Request, Software
from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.units import parse_ns

_SHIPPED = Path(__file__).parent / "profiles"
_SECTIONS: dict[str, type[Any]] = {
    "request": Request,
    "nodes": Nodes,
    "gpus": Gpus,
    "software": Software,
    "paths": Paths,
    "network": Network,
}
_PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z_]+)\}")
_HIDES_PEERS = "--gpus-per-task"


class _File(BaseModel):
    """The whole file: its version, and a cluster under its own field names."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1]
    cluster: Cluster


def shipped_clusters() -> tuple[str, ...]:
    """Names of the profiles that come with the project."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def load_cluster(source: str, settings: Sequence[str] = (), known: Mapping[str, str] | None = None) -> Cluster:
    """The profile at a path, or the shipped one of that name, with `section.key=value` settings on top.

    `known` are the placeholders' values, by default those of this user and machine. Raises
    UnknownNameError for neither a file nor a name, InputError for a file that is no profile.
    """
    path = Path(source)
    if not path.is_file():
        if path.suffix or len(path.parts) > 1:
            raise InputError(
                f"cluster {source!r}", "is not a file", f"give a TOML file, or one of {', '.join(shipped_clusters())}"
            )
        if source not in shipped_clusters():
            raise UnknownNameError("cluster", source, shipped_clusters())
        path = _SHIPPED / f"{source}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cluster {path.name!r}", f"cannot be read: {error}", "give a TOML file") from error
    return parse_cluster(text, path.name, settings, known)


def parse_cluster(
    text: str, name: str = "cluster", settings: Sequence[str] = (), known: Mapping[str, str] | None = None
) -> Cluster:
    """The profile that a TOML text holds; errors name the path, such as `request.time`."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(name, f"is not TOML: {error}", "correct the line, or start from a shipped profile") from error
    for setting in settings:
        _set(document, setting)
    values = dict(placeholders() if known is None else known)
    paths = document.get("paths", {})
    values["code"] = _fill(
        str(paths.get("code", Paths().code) if isinstance(paths, dict) else ""), values, f"{name}: paths.code"
    )
    document["paths"] = {"code": Paths().code, "work": Paths().work, **paths} if isinstance(paths, dict) else paths
    version = document.pop("schema_version", None)
    filled = _filled(document, values, name)
    try:
        cluster = _File.model_validate({"schema_version": version, "cluster": filled}).cluster
        assert cluster.request.minutes and cluster.request.warning_s >= 0 and cluster.request.memory_mib >= 0
    except ValidationError as error:
        raise _input_error(error, name) from error
    if not parse_ns(cluster.request.time):
        raise InputError(
            f"{name}: request.time = {cluster.request.time!r}", "is no time at all", "ask for a time such as 30min"
        )
    if any(_HIDES_PEERS in option for option in cluster.request.extra):
        given = f"{name}: request.extra has {_HIDES_PEERS}"
        raise InputError(
            given, "a rank would not see the GPUs of its peers", "drop it: gpus.style asks for GPUs by node"
        )
    return cluster


def placeholders() -> dict[str, str]:
    """What {user}, {group}, {home}, {here} and {bin} stand for here."""
    return {
        "user": getpass.getuser(),
        "group": grp.getgrgid(os.getgid()).gr_name,
        "home": str(Path.home()),
        "here": str(Path.cwd()),
        "bin": str(Path(sys.executable).parent),
    }


def _set(document: dict[str, Any], setting: str) -> None:
    key, separator, text = setting.partition("=")
    if not separator or not key:
        raise InputError(f"--set {setting}", "is not key=value", "write for example --set request.time=2h")
    *sections, last = key.split(".")
    place: Any = document
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise InputError(f"--set {setting}", f"{section} has no keys of its own", "write section.key=value")
    try:
        place[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        place[last] = text


def _filled(value: Any, values: Mapping[str, str], place: str) -> Any:
    if isinstance(value, str):
        return _fill(value, values, place)
    if isinstance(value, dict):
        joined = "." if ":" in place else ": "
        return {key: _filled(inner, values, f"{place}{joined}{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values, f"{place}.{index}") for index, inner in enumerate(value)]
    return value


def _fill(text: str, values: Mapping[str, str], place: str) -> str:
    for placeholder in _PLACEHOLDER.finditer(text):
        if placeholder[1] not in values:
            valid = ", ".join(f"{{{name}}}" for name in sorted(values))
            raise InputError(f"{place} = {text!r}", f"{placeholder[0]} stands for nothing", f"valid: {valid}")
    return _PLACEHOLDER.sub(lambda placeholder: values[placeholder[1]], text)


def _input_error(error: ValidationError, name: str) -> InputError:
    """The first problem, an unknown key before its consequences."""
    problems = sorted(error.errors(), key=lambda item: "unexpected" not in item["type"] and "extra" not in item["type"])
    problem = problems[0]
    place = [str(part) for part in problem["loc"] if part != "cluster"]
    path = ".".join(place)
    if "unexpected" in problem["type"] or "extra" in problem["type"]:
        shape = _SECTIONS[place[0]] if len(place) > 1 and place[0] in _SECTIONS else Cluster
        unknown = UnknownNameError("key", place[-1], [item.name for item in fields(shape)])
        return InputError(f"{name}: {path}", "is not a key of a cluster profile", unknown.remedy)
    value = problem.get("input")
    shown = "" if isinstance(value, dict | list) or problem["type"] == "missing" else f" = {value!r}"
    return InputError(f"{name}: {path}{shown}", problem["msg"][0].lower() + problem["msg"][1:], f"correct {path}")
