"""How a probe travels from a rank to whoever fits it: as a JSON object with its fields' names."""

from __future__ import annotations

__all__ = ["Probe"]

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Probe:
    """A frozen value of numbers and tuples of numbers."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The value that `to_json` wrote. Raises KeyError for a field that is missing."""
        given = {field.name: document[field.name] for field in fields(cls)}
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
