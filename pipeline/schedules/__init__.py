"""The schedule family: pure functions registered by name, one file a family.

`stages` in `build` is the number of devices of the pipeline; a family that puts several chunks on a
device returns a Schedule with more stages than devices.
"""

from __future__ import annotations

__all__ = ["Entry", "OptionSpec", "build", "catalogue", "entry", "register"]

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TypeVar

from pipeline.errors import InputError, UnknownNameError
from pipeline.schedule import Option, Schedule

Generate = Callable[..., Schedule]
G = TypeVar("G", bound=Generate)


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """One option of a schedule: its default, the values allowed (None: any of the default's type)."""

    default: Option
    choices: tuple[Option, ...] | None = None
    help: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One schedule of the catalogue."""

    name: str
    generate: Generate
    aliases: tuple[str, ...] = ()
    source: str = ""
    constraints: str = "any D >= 1, N >= 1"
    bubble: str = ""
    activations: str = ""
    options: Mapping[str, OptionSpec] = field(default_factory=dict)


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str,
    *,
    aliases: tuple[str, ...] = (),
    source: str = "",
    constraints: str = "any D >= 1, N >= 1",
    bubble: str = "",
    activations: str = "",
    options: Mapping[str, OptionSpec] | None = None,
) -> Callable[[G], G]:
    """Registers a generator `f(stages, microbatches, **options) -> Schedule` under a name."""

    def keep(generate: G) -> G:
        _ENTRIES[name] = Entry(name, generate, aliases, source, constraints, bubble, activations, dict(options or {}))
        return generate

    return keep


def catalogue() -> tuple[Entry, ...]:
    """Every registered schedule, by name."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return tuple(_ENTRIES[name] for name in sorted(_ENTRIES))


def entry(name: str) -> Entry:
    """The schedule of a name or alias; UnknownNameError offers the closest."""
    known = {alias: item for item in catalogue() for alias in (item.name, *item.aliases)}
    if name not in known:
        raise UnknownNameError("schedule", name, known)
    return known[name]


def build(name: str, *, stages: int, microbatches: int, **options: Option) -> Schedule:
    """The schedule `name` for `stages` devices and `microbatches` micro-batches per iteration.

    Raises UnknownNameError for a name, option or choice that does not exist, InputError for numbers
    that the schedule does not admit.
    """
    item = entry(name)
    for what, count in (("stages", stages), ("microbatches", microbatches)):
        if count < 1:
            raise InputError(f"{what} = {count}", f"{item.name} needs at least 1", f"give --{what} 1 or more")
    for key, value in options.items():
        if key not in item.options:
            raise UnknownNameError(f"option of {item.name}", key, item.options)
        choices = item.options[key].choices
        if choices is not None and value not in choices:
            raise UnknownNameError(f"{item.name} {key}", str(value), [str(choice) for choice in choices])
    settings = {key: spec.default for key, spec in item.options.items()} | options
    return item.generate(stages, microbatches, **settings)
