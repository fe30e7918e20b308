"""How much is tried: with ALL=1, which CI sets, every size and every example; else a diagonal of them and a tenth."""

from __future__ import annotations

__all__ = ["ALL", "examples"]

import os

ALL = os.environ.get("ALL", "0") not in ("", "0")
"""Whether everything is to be tried, for as long as it takes: the one place where the environment is asked."""
_SHARE = 10
_FEWEST = 5


def examples(number: int) -> int:
    """How many examples of a property to draw where `number` of them are all."""
    return number if ALL else max(number // _SHARE, min(number, _FEWEST))
