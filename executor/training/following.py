"""How far a running training is, from what its ranks have written down."""

from __future__ import annotations

__all__ = ["Following", "Step"]

import json
from pathlib import Path
from typing import Any, NamedTuple

_TAIL_BYTES = 1 << 20
_EVERY_S = 1.0


class Step(NamedTuple):
    """The last step that every rank of a case completed: its number from 1, its loss, seconds a step and left."""

    number: int
    label: str
    loss: float
    seconds: float
    left_s: float | None


class Following:
    """Looks into the journals of a run once a second, which costs its ranks next to nothing."""

    def __init__(self, output: Path, steps: int | None) -> None:
        self._folder, self._steps = output / "ranks", steps
        self._looked_s = 0.0
        self._first: tuple[int, float] | None = None
        self._latest: Step | None = None

    def latest(self, elapsed_s: float) -> Step | None:
        """The last completed step that is known `elapsed_s` after the start."""
        if elapsed_s - self._looked_s >= _EVERY_S:
            self._looked_s = elapsed_s
            self._latest = self._look(elapsed_s) or self._latest
        return self._latest

    def _look(self, now_s: float) -> Step | None:
        found = _completed([_tail(path) for path in sorted(self._folder.glob("rank-*.jsonl"))])
        if found is None:
            return None
        (number, label), loss = found
        if self._first is None:
            self._first = number, now_s
        steps, since_s = number - self._first[0], now_s - self._first[1]
        pace_s = since_s / steps if steps > 0 else 0.0
        left_s = None if self._steps is None or not steps else (self._steps - number - 1) * pace_s
        return Step(number + 1, label, loss, pace_s, left_s)


def _completed(tails: list[list[dict[str, Any]]]) -> tuple[tuple[int, str], float] | None:
    """The latest (round, label) that all ranks of its case have written, and its loss."""
    parts: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for tail in tails:
        for line in tail:
            if line["round"] >= 0:
                parts.setdefault((line["round"], line["label"]), []).append(line)
    whole = {key: lines for key, lines in parts.items() if len(lines) >= lines[0]["ranks"]}
    if not whole:
        return None
    latest = max(whole, key=lambda key: key[0])
    return latest, sum(line["loss"] for line in whole[latest])


def _tail(path: Path) -> list[dict[str, Any]]:
    """The last whole lines of a journal: a few are enough, ranks are never far apart."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    whole = lines[:-1] if size <= _TAIL_BYTES else lines[1:-1]
    return [json.loads(line) for line in whole[-6:]]
