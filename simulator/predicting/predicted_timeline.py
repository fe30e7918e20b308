"""A predicted timeline with its memory, where the profile knows sizes, made when it is asked for."""

from __future__ import annotations

__all__ = ["PredictedTimeline", "predicted_timeline"]

from dataclasses import dataclass
from itertools import chain

from chimera.pipeline.metrics import Metrics, judge
from chimera.pipeline.timeline import Timeline
from chimera.simulator.engines.times import Times, computed_of, timeline_of
from chimera.simulator.memory.events import memory_events, memory_peaks
from chimera.simulator.predicting.assumptions import has_memory
from chimera.simulator.workload.collector import collector_paused
from chimera.simulator.workload.workload import Workload


def predicted_timeline(workload: Workload, times: Times) -> PredictedTimeline:
    """Of an engine's times; memory only of a profile that knows what devices hold."""
    return PredictedTimeline(workload, times, memory_peaks(workload, times) if has_memory(workload.profile) else ())


@dataclass(frozen=True, slots=True)
class PredictedTimeline:
    """What an engine found. Metrics are read off at once; to write the timeline down takes longer than to find it."""

    workload: Workload
    times: Times
    peaks: tuple[int, ...]

    def __call__(self) -> Timeline:
        """The timeline itself."""
        with collector_paused():
            rows = memory_events(self.workload, self.times) if self.peaks else ()
            return timeline_of(self.workload, self.times, tuple(chain.from_iterable(rows)), self.peaks)

    def metrics(self, samples_per_iteration: int) -> Metrics:
        """What `chimera.pipeline.metrics.measure` says of the timeline."""
        return judge(computed_of(self.workload, self.times), self.times.end_ns, self.peaks, samples_per_iteration)
