"""Contestants timed in turns, A B C A B C ..., so that a disturbance meets all of them; medians and ranges."""

from __future__ import annotations

__all__ = ["Seconds", "in_turns", "ratio", "shown", "table"]

import gc
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import process_time

Seconds = list[float]
"""Processor seconds of one contestant, one a round."""


_LEAST_S = 0.02


def in_turns(
    contestants: Mapping[str, Callable[[], object]], rounds: int, *, collecting: bool = True
) -> dict[str, Seconds]:
    """Per contestant its processor seconds a call, round by round; short ones are called for 20 ms.

    What a call returns is freed outside the timed region, and garbage is collected before it; within
    it only if `collecting`.
    """
    found: dict[str, Seconds] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, action in contestants.items():
            gc.collect()
            if not collecting:
                gc.disable()
            try:
                found[name].append(_seconds(action))
            finally:
                gc.enable()
    return found


def _seconds(action: Callable[[], object]) -> float:
    spent, calls = 0.0, 0
    while spent < _LEAST_S or not calls:
        begin = process_time()
        result = action()
        spent += process_time() - begin
        calls += 1
        del result
    return spent / calls


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Seconds:
    """How many times as long `slow` took, in each round."""
    return [one / other for one, other in zip(slow, fast, strict=True)]


def shown(values: Sequence[float], scale: float = 1.0, digits: int = 1) -> str:
    """Median and range: `14.2 (13.9..15.0)`."""
    middle, low, high = (f"{scale * value:.{digits}f}" for value in (median(values), min(values), max(values)))
    return f"{middle} ({low}..{high})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table, columns aligned."""
    cells = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
