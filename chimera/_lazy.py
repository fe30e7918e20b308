"""Names that are loaded when they are first asked for, so that `import chimera` loads neither torch nor matplotlib."""

from __future__ import annotations

__all__ = ["attribute_getter"]

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def attribute_getter(face: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names live elsewhere: `homes` maps a module to its names, between blanks."""
    where = {name: module for module, names in homes.items() for name in names.split()}

    def _getattr(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {face!r} has no attribute {name!r}")
        return getattr(import_module(where[name]), name)

    return _getattr
