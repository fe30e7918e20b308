"""What makes two values the same: their content, never who made them, and a digest of it that is worked out once."""

from __future__ import annotations

__all__ = ["Content", "FrozenDict", "canonical"]

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class FrozenDict(dict[K, V]):
    """A mapping that belongs to a value and stays as it is; equal to any dict of the same content."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this mapping belongs to a value and cannot be changed: make a new value of a changed copy")

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)  # dict's own way would set the items one by one


class Content:
    """A frozen dataclass that is compared by its fields and hashed by a digest of them (`eq=False`: this says how).

    Fields with `compare=False` (where a value comes from, and when) count for neither. The digest is
    SHA-256 of a canonical text, the same in every process, and is kept once it is known.
    """

    __slots__ = ("_digest",)
    _digest: str

    @property
    def digest(self) -> str:
        """Hexadecimal; equal values have the same one."""
        try:
            return self._digest
        except AttributeError:
            text = json.dumps([type(self).__name__, self._canonical()], separators=(",", ":"))
            object.__setattr__(self, "_digest", hashlib.sha256(text.encode()).hexdigest())
            return self._digest

    def _canonical(self) -> Any:
        return canonical(self)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Content) or type(self) is not type(other):
            return NotImplemented
        known = [getattr(value, "_digest", None) for value in (self, other)]
        if None not in known and known[0] != known[1]:
            return False
        return all(getattr(self, name) == getattr(other, name) for name in _compared(self))

    def __hash__(self) -> int:
        return hash(self.digest)


def canonical(value: Any) -> Any:
    """What JSON can say of a value such that equal values say the same: True, 1 and 1.0 are one number."""
    if is_dataclass(value):
        return {name: canonical(getattr(value, name)) for name in _compared(value)}
    if isinstance(value, Mapping):
        return sorted([canonical(key), canonical(inner)] for key, inner in value.items())
    if isinstance(value, list | tuple):
        return [canonical(inner) for inner in value]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float) and not value.is_integer():
        return value
    return None if value is None else int(value)


def _compared(value: Any) -> list[str]:
    return [item.name for item in fields(value) if item.compare]
