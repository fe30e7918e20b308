"""How fast a full pipeline is: the middle of an iteration without a flush, predicted or measured."""

from __future__ import annotations

__all__ = ["steady_iteration_ns"]

from chimera.pipeline.schedule import Schedule
from chimera.pipeline.timeline import Timeline

_LEAST = 2
"""micro-batches that must end between fill and drain"""


def steady_iteration_ns(timeline: Timeline, schedule: Schedule) -> float | None:
    """Nanoseconds that an iteration's micro-batches take where the pipeline is full; None where it never is.

    That is N times the mean distance of the ends of micro-batches, without the first 2D (as many as
    are ever in flight, twice) and the last D. For PipeDream, which steps after every micro-batch, it
    is the rate of an endless run; PipeDream-2BW's step, once an iteration, is not in it. None also
    for schedules with a flush, whose pipelines drain by design.
    """
    depth, count = schedule.stages, schedule.microbatches
    if schedule.update == "flush" or count < 3 * depth + _LEAST:
        return None
    ends = [0] * count
    for span in timeline.spans:
        if span.stream == "compute":
            for microbatch in (number for part in span.action.parts for number in part.microbatches):
                ends[microbatch] = max(ends[microbatch], span.end_ns)
    first, last = 2 * depth - 1, count - 1 - depth
    return count * (ends[last] - ends[first]) / (last - first)
