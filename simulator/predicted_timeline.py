"""A predicted timeline with its memory, where the profile knows sizes."""

from __future__ import annotations

__all__ = ["predicted_timeline"]

from itertools import chain

from pipeline.timeline import Timeline
from simulator.assumptions import has_memory
from simulator.memory import memory_events, memory_peak
from simulator.times import Times, timeline_of
from simulator.workload import Workload


def predicted_timeline(workload: Workload, times: Times) -> Timeline:
    """The timeline of an engine's times; memory events only of a profile that knows what devices hold."""
    rows = memory_events(workload, times) if has_memory(workload.profile) else ()
    peaks = tuple(memory_peak(row).total_bytes for row in rows)
    return timeline_of(workload, times, tuple(chain.from_iterable(rows)), peaks)
