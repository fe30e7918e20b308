"""Metrics, defined once: the same function judges a predicted and a measured timeline."""

from __future__ import annotations

__all__ = ["Computed", "DeviceMetrics", "Metrics", "judge", "measure"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chimera.pipeline.timeline import Timeline


class Computed(NamedTuple):
    """What one device computed: when it began, when it ended, and the nanoseconds of work between."""

    start_ns: int
    end_ns: int
    busy_ns: int

    @classmethod
    def of(cls, starts: Sequence[int], ends: Sequence[int]) -> Computed | None:
        """Of the nanoseconds at which its computations started and ended; None if there are none."""
        return cls(min(starts), max(ends), sum(ends) - sum(starts)) if starts else None


@dataclass(frozen=True, slots=True)
class DeviceMetrics:
    """One device: nanoseconds of compute, of idleness within the pipeline's span, and bytes."""

    device: int
    busy_ns: int
    idle_ns: int
    peak_memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a timeline amounts to. The three bubble ratios differ in what they divide by.

    `pipeline_ns` runs from the first compute start to the last compute end over all devices,
    `iteration_ns` until synchronisation and optimizer are done everywhere. `bubble_ratio` is
    1 - busy / (devices x pipeline), the Chimera paper's. `bubble_over_ideal` is
    (pipeline - ideal) / ideal with ideal the busiest device's compute, Megatron's.
    `bubble_longest_stage` is (c - busy) / c with c the largest (last end - first start) of any
    device and busy that device's compute, the Zero-Bubble papers'.
    """

    pipeline_ns: int
    iteration_ns: int
    ideal_ns: int
    bubble_ratio: float
    bubble_over_ideal: float
    bubble_longest_stage: float
    utilisation: float
    throughput_samples_per_s: float | None
    per_device: tuple[DeviceMetrics, ...]


def measure(timeline: Timeline, *, samples_per_iteration: int | None = None) -> Metrics:
    """Metrics of one iteration; `samples_per_iteration` = micro-batch size x N x W, if known.

    A device without compute counts as idle throughout. Waiting for a message is idle, whatever
    its cause; a transfer that overlaps compute is not, since compute spans hold work only.
    """
    starts: list[list[int]] = [[] for _ in range(timeline.devices)]
    ends: list[list[int]] = [[] for _ in range(timeline.devices)]
    for span in timeline.spans:
        if span.stream == "compute":
            starts[span.device].append(span.start_ns)
            ends[span.device].append(span.end_ns)
    computed = list(map(Computed.of, starts, ends))
    return judge(computed, timeline.end_ns, timeline.peak_memory_bytes, samples_per_iteration)


def judge(
    computed: Sequence[Computed | None],
    end_ns: int,
    peak_memory_bytes: Sequence[int] = (),
    samples_per_iteration: int | None = None,
) -> Metrics:
    """The same of what every device computed (None: nothing at all), for those who know that without a timeline."""
    working = [device for device in computed if device is not None]
    pipeline = max(d.end_ns for d in working) - min(d.start_ns for d in working) if working else 0
    busy = [0 if device is None else device.busy_ns for device in computed]
    ideal, total = max(busy, default=0), sum(busy)
    longest, longest_busy = max(((d.end_ns - d.start_ns, d.busy_ns) for d in working), default=(0, 0))
    peaks: Sequence[int | None] = peak_memory_bytes or (None,) * len(computed)
    return Metrics(
        pipeline_ns=pipeline,
        iteration_ns=end_ns,
        ideal_ns=ideal,
        bubble_ratio=_one_minus(total, len(computed) * pipeline),
        bubble_over_ideal=(pipeline - ideal) / ideal if ideal else 0.0,
        bubble_longest_stage=_one_minus(longest_busy, longest),
        utilisation=total / (len(computed) * end_ns) if end_ns else 0.0,
        throughput_samples_per_s=samples_per_iteration * 1e9 / end_ns if samples_per_iteration and end_ns else None,
        per_device=tuple(
            DeviceMetrics(device, work, pipeline - work, peak)
            for device, (work, peak) in enumerate(zip(busy, peaks, strict=True))
        ),
    )


def _one_minus(part: int, whole: int) -> float:
    return (whole - part) / whole if whole else 0.0
