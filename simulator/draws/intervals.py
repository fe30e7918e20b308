"""The distribution of the iteration time over drawn durations, and how often one schedule beats another."""

from __future__ import annotations

__all__ = ["Sampled", "beats", "sampled"]

from collections.abc import Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from chimera.pipeline.timeline import Timeline
from chimera.simulator.draws.sampling import draw, drawn
from chimera.simulator.engines.choice import Interpret
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.direct import engine as direct
from chimera.simulator.engines.exchanges import Transport
from chimera.simulator.predicting.predicted_timeline import predicted_timeline
from chimera.simulator.workload.workload import Workload


class Sampled(NamedTuple):
    """What draws of an iteration say about its time."""

    interval_s: tuple[float, float, float]
    """percentiles 5, 50 and 95, in seconds"""
    typical: Timeline
    """of the (lower) median draw"""
    draws_ns: tuple[int, ...]
    """the iteration time of every draw"""


def sampled(
    workload: Workload, engine: CompiledWorkload | Interpret, samples: int, seed: int, semantics: Transport
) -> Sampled | None:
    """Predicts so many iterations of drawn durations; None for none."""
    if not samples:
        return None
    ends: list[int] = []
    for batch in draw(workload, samples, seed):
        if isinstance(engine, CompiledWorkload):
            ends += engine.iteration_ns(batch).tolist()
        else:
            ends += [engine(drawn(workload, row), None, semantics).end_ns for row in batch]
    low, middle, high = np.percentile(ends, [5, 50, 95]) / 1e9
    wanted = int(np.argsort(ends, kind="stable")[(samples - 1) // 2])
    # Drawn again rather than kept: thousands of draws of a large schedule would not fit into memory.
    row = next(islice(chain.from_iterable(draw(workload, samples, seed)), wanted, None))
    typical = drawn(workload, row)
    times = direct.run(typical, None, semantics)
    return Sampled((float(low), float(middle), float(high)), predicted_timeline(typical, times)(), tuple(ends))


def beats(ours_ns: Sequence[int], theirs_ns: Sequence[int]) -> float:
    """The share of draws in which ours is faster than theirs in the same draw; a tie counts half."""
    ours, theirs = np.array(ours_ns), np.array(theirs_ns)
    return float(np.mean(ours < theirs) + np.mean(ours == theirs) / 2)
