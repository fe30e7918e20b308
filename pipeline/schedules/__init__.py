"""The schedule family: pure functions registered by name, one file a family.

`stages` in `build` is the number of devices of the pipeline; a family that puts several chunks on a
device returns a Schedule with more stages than devices.
"""

from __future__ import annotations

__all__ = ["RECOMPUTE", "Entry", "OptionSpec", "build", "catalogue", "entry", "register"]

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from operator import index
from typing import SupportsIndex, TypeVar

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.lowering.recomputation import recomputing
from chimera.pipeline.schedule import Option, Schedule

Generate = Callable[..., Schedule]
G = TypeVar("G", bound=Generate)


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """One option of a schedule: its default, the values allowed (None: any of the default's type).

    A default of None is worked out from the other options; such an option has choices.
    """

    default: Option | None
    choices: tuple[Option, ...] | None = None
    help: str = ""

    @property
    def kind(self) -> type[Option]:
        """The type of its values."""
        example = self.default if self.default is not None else (self.choices or ("",))[0]
        return type(example)


RECOMPUTE = OptionSpec("none", None, "stages whose backwards run the forward again: all, none, or such as 0,2")
"""an option of every schedule: see `chimera.pipeline.lowering.recomputation`"""


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

    @property
    def reads_file(self) -> bool:
        """Whether its order comes from a file of the user's, so that there is none without it."""
        return "file" in self.options


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
    """Registers a generator `f(stages, microbatches, **options) -> Schedule` under a name.

    Every module in this folder is imported on first use, so that a new family needs no list.
    """

    def _keep(generate: G) -> G:
        taken = {known for item in _ENTRIES.values() for known in (item.name, *item.aliases)}
        assert taken.isdisjoint((name, *aliases)), f"{name} or an alias of it is registered twice"
        every = dict(options or {})
        every.setdefault("recompute", RECOMPUTE)
        _ENTRIES[name] = Entry(name, generate, aliases, source, constraints, bubble, activations, every)
        return generate

    return _keep


def catalogue() -> tuple[Entry, ...]:
    """Every registered schedule, by name."""
    _import_families()
    return tuple(_ENTRIES[name] for name in sorted(_ENTRIES))


@cache
def _import_families() -> None:
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


def entry(name: str) -> Entry:
    """The schedule of a name or alias; UnknownNameError offers the closest."""
    if not isinstance(name, str):
        raise InputError(f"schedule {name!r}", f"is {_kind(name)}, not a name", "give a name such as 'chimera'")
    known = {alias: item for item in catalogue() for alias in (item.name, *item.aliases)}
    if name not in known:
        raise UnknownNameError("schedule", name, known)
    return known[name]


def build(name: str, *, stages: int, microbatches: int, **options: Option) -> Schedule:
    """The schedule `name` for `stages` devices and `microbatches` micro-batches per iteration.

    Raises UnknownNameError for a name, option or choice that does not exist, InputError for an option
    of another type, or for numbers that the schedule does not admit.
    """
    item = entry(name)
    stages, microbatches = _count(item, "stages", stages), _count(item, "microbatches", microbatches)
    again = options.pop("recompute", None)
    for key, value in options.items():
        _check_option(item, key, value)
    settings = {key: spec.default for key, spec in item.options.items() if key != "recompute"} | options
    schedule = item.generate(stages, microbatches, **settings)
    return schedule if again is None else recomputing(schedule, again)


def _count(item: Entry, what: str, count: object) -> int:
    """A whole number of one or more; text, truth values and fractions are refused, also those that would do."""
    if not isinstance(count, SupportsIndex) or isinstance(count, bool):
        raise InputError(f"{what} = {count!r}", f"is {_kind(count)}, not a whole number", f"give for example {what}=8")
    if (number := index(count)) < 1:
        raise InputError(f"{what} = {count}", f"{item.name} needs at least 1", f"give --{what} 1 or more")
    return number


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _check_option(item: Entry, key: str, value: Option) -> None:
    """An option that exists, of its default's type, and one of its choices."""
    if key not in item.options:
        raise UnknownNameError(f"option of {item.name}", key, item.options)
    spec = item.options[key]
    kind = spec.kind
    if spec.choices is not None and kind is str and value not in spec.choices:
        raise UnknownNameError(f"{item.name} {key}", str(value), [str(choice) for choice in spec.choices])
    fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits or (spec.choices is not None and value not in spec.choices):
        wanted = "one of " + ", ".join(map(str, spec.choices)) if spec.choices else f"a value such as {spec.default}"
        raise InputError(f"{key} = {value!r}", f"{item.name} takes {kind.__name__} there", f"give {wanted}")
