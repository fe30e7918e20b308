"""What an all-reduce and a computation cost each other while they run at the same time."""

from __future__ import annotations

__all__ = ["Slowdowns", "fit_slowdowns"]

from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

from chimera.calibration.measuring.probes import OverlapProbe


class Slowdowns(NamedTuple):
    """How many times as long a computation and an all-reduce take while both run; 1 where they do not disturb."""

    compute: float
    reduce: float


def fit_slowdowns(probes: Iterable[OverlapProbe]) -> Slowdowns:
    """The slowdowns that probes of all ranks show; 1 where nothing was measured.

    While the all-reduce of Wr alone takes Tr, a computation of Wc alone that ends at Tc > Tr has done
    Wc - (Tc - Tr) of its work: it was slower by Tr over that, the all-reduce by Tr / Wr. Medians over all
    repetitions in which the computation did outlast the all-reduce; never below 1.
    """
    lasting = [one for one in probes if one.compute_ns > one.reduce_ns and _done_meanwhile(one) > 0]
    if not lasting:
        return Slowdowns(1.0, 1.0)
    compute = median(one.reduce_ns / _done_meanwhile(one) for one in lasting)
    reduce = median(one.reduce_ns / max(one.reduce_alone_ns, 1) for one in lasting)
    return Slowdowns(max(compute, 1.0), max(reduce, 1.0))


def _done_meanwhile(one: OverlapProbe) -> int:
    """Work of the computation, in nanoseconds alone, that was done while the all-reduce was under way."""
    return one.compute_alone_ns - (one.compute_ns - one.reduce_ns)
