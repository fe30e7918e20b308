"""The profile's file: JSON with a schema version, strict keys and errors that name the place.

Version 2 says of every cost at which tensor width, of how many tokens, in which precision it was found and where
it comes from. A file of version 1 says none of it: its costs are those of whole layers (tensor width 1).
"""

from __future__ import annotations

__all__ = ["SCHEMA_VERSION", "document", "load_profile", "parse", "save_profile", "shipped"]

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.files.atomic_file import write_text
from chimera.simulator.costs import profile as shapes
from chimera.simulator.costs.profile import Profile

SCHEMA_VERSION = 2
_READ = (1, 2)
_SHIPPED = Path(__file__).parent / "profiles"
_PLACES: dict[str, type[Any]] = {
    "layers": shapes.LayerCost,
    "costs": shapes.SizeCost,
    "links": shapes.LinkCost,
    "topology": shapes.Topology,
    "slow_links": shapes.SlowLink,
    "all_reduce": shapes.AllReduceCost,
    "measured": shapes.MeasuredReduce,
    "optimizer": shapes.OptimizerCost,
    "overheads": shapes.Overheads,
    "locality": shapes.Locality,
    "jitter": shapes.Jitter,
}


class _Strict(BaseModel):
    """Unknown keys are errors; the dataclasses inside inherit that."""

    model_config = ConfigDict(extra="forbid")


class _File(_Strict):
    """The whole file: the version, and a profile under its own field names."""

    schema_version: Literal[1, 2]
    profile: Profile


def shipped() -> tuple[str, ...]:
    """Names of the profiles that come with the project."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.json")))


def load_profile(source: str | Path) -> Profile:
    """The profile at a path, or the shipped one of that name.

    Raises UnknownNameError for neither, InputError for a file that is not a profile.
    """
    path = Path(source)
    if not path.exists() and str(source) in shipped():
        path = _SHIPPED / f"{source}.json"
    if not path.is_file():
        if path.suffix or len(path.parts) > 1:
            remedy = "give the path that `chimera calibrate --output` wrote"
            raise InputError(f"profile {str(source)!r}", "is not a file", remedy)
        raise UnknownNameError("profile", str(source), shipped())
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"profile {path.name!r}", f"cannot be read: {error}", "give a JSON profile") from error
    return parse(text, path.name)


def parse(text: str, name: str = "profile") -> Profile:
    """The profile that a JSON text holds; errors name the path, such as `layers.3.costs.0.forward_ns`."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name}, line {error.lineno}, column {error.colno}",
            f"is not JSON: {error.msg} (is the file truncated?)",
            "write it again with `chimera calibrate`",
        ) from error
    if not isinstance(document, dict):
        raise InputError(name, "is not a JSON object", "write it with `chimera calibrate`")
    version = document.pop("schema_version", None)
    if version not in _READ or isinstance(version, bool):
        raise InputError(
            f"{name}: schema_version {version!r}",
            f"this version reads schema_version {' and '.join(map(str, _READ))}",
            "calibrate again, or use the version that wrote the file",
        )
    try:
        profile = _File.model_validate({"schema_version": version, "profile": document}).profile
    except ValidationError as error:
        raise _input_error(error, name) from error
    _check(profile, name)
    return profile


def _input_error(error: ValidationError, name: str) -> InputError:
    """The first problem, an unknown key before its consequences."""
    problems = sorted(error.errors(), key=lambda item: "unexpected" not in item["type"] and "extra" not in item["type"])
    problem = problems[0]
    places = {item["loc"] for item in problems if item["type"] != "too_short" or len(problems) == 1}
    place = list(problem["loc"][1:])
    path = ".".join(map(str, place))
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    if "unexpected" in problem["type"] or "extra" in problem["type"]:
        valid = sorted(item.name for item in fields(_shape(place[:-1])))
        close = get_close_matches(str(place[-1]), valid, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return InputError(f"{name}: {path}", f"is not a field of a profile{more}", f"{hint}valid: {', '.join(valid)}")
    found = problem.get("input")
    shown = "" if isinstance(found, dict | list) or problem["type"] == "missing" else f" = {found!r}"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return InputError(f"{name}: {path}{shown}", f"{message}{more}", f"correct {path}")


def _shape(place: list[int | str]) -> type[Any]:
    """The dataclass whose field was expected at a path."""
    for part in reversed(place):
        if part in _PLACES:
            return _PLACES[str(part)]
    return Profile


def _check(profile: Profile, name: str) -> None:
    """What no single field can say: some backward is known, sizes do not repeat, one layer per stage."""
    if profile.per_stage and len(profile.layers) > 1:
        remedy = "give the one layer that stands for a stage"
        raise InputError(f"{name}: per_stage", f"is true with {len(profile.layers)} layers", remedy)
    for index, layer in enumerate(profile.layers):
        for position, cost in enumerate(layer.costs):
            split = (cost.backward_input_ns, cost.backward_weight_ns)
            if (split[0] is None) != (split[1] is None) or (cost.backward_ns is None and split[0] is None):
                raise InputError(
                    f"{name}: layers.{index}.costs.{position}.backward_ns",
                    "is unknown, and so is one half of the backward",
                    "give backward_ns, or both backward_input_ns and backward_weight_ns",
                )
        _check_table(layer, f"{name}: layers.{index}.costs")


def _check_table(layer: shapes.LayerCost, place: str) -> None:
    """The layer undivided is known, at each size once for each tensor width, all in one precision and length."""
    entries = [(cost.tensor, cost.microbatch_size) for cost in layer.costs]
    if len(set(entries)) < len(entries):
        sizes = [size for _, size in entries]
        raise InputError(place, f"has sizes {sizes}", "give each micro-batch size once for each tensor width")
    if not layer.undivided:
        widths = ", ".join(str(width) for width in sorted({width for width, _ in entries}))
        raise InputError(place, f"knows tensor width {widths} only", "give the costs at tensor width 1 too")
    for noun in ("precision", "tokens"):
        if len(known := {getattr(cost, noun) for cost in layer.costs}) > 1:
            given = ", ".join(sorted(str(value) for value in known))
            raise InputError(place, f"mixes {noun}: {given}", f"write one profile for each {noun}")


def document(profile: Profile) -> dict[str, Any]:
    """The JSON object of a profile; unknown (None) and empty fields are left out."""
    return {"schema_version": SCHEMA_VERSION, **_sparse(profile)}


def _sparse(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        shown = {}
        for item in fields(value):
            inner = _sparse(getattr(value, item.name))
            if inner not in (None, {}, []):
                shown[item.name] = inner
        return shown
    if isinstance(value, Mapping):
        return {str(key): _sparse(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_sparse(inner) for inner in value]
    return value


def save_profile(profile: Profile, path: str | Path) -> None:
    """Writes the profile as JSON, whole or not at all."""
    write_text(path, json.dumps(document(profile), indent=1) + "\n")
