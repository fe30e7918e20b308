"""Named hypothesis strategies that several test files share."""

from __future__ import annotations

__all__ = ["chimeras", "divisors", "schedules"]

from hypothesis import reject
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Option, Schedule
from chimera.pipeline.schedules import build, catalogue

_NUMBERS = {"pairs": (1, 4), "v": (1, 4), "group": (0, 12), "waves": (1, 3)}
"""Ranges for options that are plain numbers; others keep their default."""
_EVEN_DEPTH = {"chimera", "gems", "dualpipe"}


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    return [d for d in range(1, number + 1) if number % d == 0]


@st.composite
def schedules(
    draw: st.DrawFn, names: tuple[str, ...] = (), *, max_stages: int = 8, max_microbatches: int = 28
) -> Schedule:
    """Any schedule that a generator of the catalogue (or of `names`) admits, with any of its options."""
    chosen = draw(
        st.sampled_from([item for item in catalogue() if not item.reads_file and (not names or item.name in names)])
    )
    depth = draw(st.integers(1, max_stages))
    if chosen.name in _EVEN_DEPTH:
        depth += depth % 2
    options: dict[str, Option] = {}
    for key, spec in chosen.options.items():
        if spec.choices is not None:
            options[key] = draw(st.sampled_from(spec.choices))
        elif key == "recompute":
            options[key] = draw(st.sampled_from(["all", "none", "0", str(depth - 1)]))
        elif key in _NUMBERS:
            options[key] = draw(st.integers(*_NUMBERS[key]))
    count = draw(st.integers(1, max_microbatches))
    for admitted in (count, 2 * depth + count + count % 2):  # DualPipe wants an even N of at least 2D
        try:
            return build(chosen.name, stages=depth, microbatches=admitted, **options)
        except InputError as refusal:
            assert refusal.remedy  # whoever refuses says what would be admitted
    return reject()


@st.composite
def chimeras(draw: st.DrawFn, *, max_half: int = 6, max_units: int = 4) -> Schedule:
    """Any Chimera: every f that divides D/2, every concatenation, N below, at and between multiples of D."""
    half = draw(st.integers(1, max_half))
    return build(
        "chimera",
        stages=2 * half,
        microbatches=draw(st.integers(1, 2 * half * max_units)),
        pairs=draw(st.sampled_from(divisors(half))),
        concat=draw(st.sampled_from(["direct", "doubling", "halving"])),
        recompute=draw(st.booleans()),
    )
