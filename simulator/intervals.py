"""The distribution of the iteration time over drawn durations."""

from __future__ import annotations

__all__ = ["sampled"]

from itertools import chain, islice

import numpy as np

from pipeline.timeline import Timeline
from simulator import engine as reference
from simulator.compiled import CompiledWorkload
from simulator.engine import Transport
from simulator.predicted_timeline import predicted_timeline
from simulator.sampling import as_rows, draw
from simulator.workload import Workload


def sampled(
    workload: Workload, compiled: CompiledWorkload | None, samples: int, seed: int, semantics: Transport
) -> tuple[tuple[float, float, float], Timeline]:
    """Percentiles 5, 50 and 95 of the iteration time over drawn durations, in seconds; the median draw."""
    ends: list[int] = []
    for batch in draw(workload, samples, seed):
        if compiled:
            ends += compiled.iteration_ns(batch).tolist()
        else:
            ends += [reference.run(workload, as_rows(workload, drawn), semantics).end_ns for drawn in batch]
    low, middle, high = np.percentile(ends, [5, 50, 95]) / 1e9
    wanted = int(np.argsort(ends, kind="stable")[(samples - 1) // 2])
    # Drawn again rather than kept: thousands of draws of a large schedule would not fit into memory.
    drawn = next(islice(chain.from_iterable(draw(workload, samples, seed)), wanted, None))
    times = reference.run(workload, as_rows(workload, drawn), semantics)
    return (float(low), float(middle), float(high)), predicted_timeline(workload, times)
