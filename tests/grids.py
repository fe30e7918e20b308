"""Every size at which a schedule is promised to hold: p <= 16 devices, m <= 64 micro-batches, and its v or f."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Option, Schedule
from chimera.pipeline.schedules import build, catalogue
from tests.sizes import ALL
from tests.strategies import divisors

DEVICES, MICROBATCHES = 16, 64
NAMES = [item.name for item in catalogue() if not item.reads_file]
_CHUNKED = {"interleaved": "v", "breadth-first": "v", "hanayo": "waves"}


def variants(name: str, devices: int) -> list[dict[str, Option]]:
    """The structural options of a schedule at this depth: chunks v, waves, pairs f with each concatenation."""
    if name == "chimera":
        how = ("direct", "doubling", "halving")
        return [{"pairs": f, "concat": c} for f in divisors(devices // 2) for c in how] if devices % 2 == 0 else []
    if name in _CHUNKED:
        return [{_CHUNKED[name]: v} for v in (2, 3, 4)] if name != "hanayo" else [{"waves": v} for v in (1, 2)]
    return [{}]


def admitted(name: str, devices: int, counts: range | list[int]) -> Iterator[Schedule]:
    """The schedules of a name at this depth; what the generator refuses, it refuses with a remedy.

    Every count with every variant where everything is tried (see `tests.sizes`), else the diagonal: every count with
    one variant, at each depth with another.
    """
    choices = variants(name, devices)
    for number, microbatches in enumerate(counts):
        turn = (devices + number) % max(len(choices), 1)
        for options in choices if ALL else choices[turn : turn + 1]:
            try:
                yield build(name, stages=devices, microbatches=microbatches, **options)
            except InputError as refusal:
                assert refusal.remedy


def some_counts(devices: int, name: str, most: int = 2) -> list[int]:
    """Micro-batch counts on the diagonal (D, 2D) and at the edges (1, D-1, D+1, the largest) and `most` seeded others.

    Where everything is tried (see `tests.sizes`), every count there is.
    """
    if ALL:
        return list(range(1, MICROBATCHES + 1))
    others = Random(f"{name} {devices}").sample(range(1, MICROBATCHES), most)
    return sorted({1, max(devices - 1, 1), devices, devices + 1, 2 * devices, MICROBATCHES, *others})
