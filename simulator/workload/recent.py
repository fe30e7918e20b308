"""The last few results of something that takes long to make, found again by an equal key."""

from __future__ import annotations

__all__ = ["Recent"]

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most `count` values, of at most `weight` together; the longest unused one goes first.

    Keys are compared, not hashed: hashing a schedule takes as long as reading all of it, comparing it
    with another one usually ends at the first field, and with itself at once.
    """

    def __init__(self, count: int, weight: int) -> None:
        self._count, self._weight = count, weight
        self._kept: list[tuple[K, V, int]] = []
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K, make: Callable[[K], V], weight: int = 1) -> V:
        """The value kept for an equal key, or what `make` gives now; one that is too heavy is not kept."""
        with self._lock:
            for place, (other, value, _) in enumerate(self._kept):
                if other is key or other == key:
                    self._kept.append(self._kept.pop(place))
                    return value
        value = make(key)
        if weight > self._weight:
            return value
        with self._lock:
            self._kept.append((key, value, weight))
            while len(self._kept) > self._count or sum(each[2] for each in self._kept) > self._weight:
                self._kept.pop(0)
        return value

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kept.clear()
