"""Metrics, defined once: the same function judges a predicted and a measured timeline."""

from __future__ import annotations

__all__ = ["DeviceMetrics", "Metrics", "measure"]

from dataclasses import dataclass

from pipeline.timeline import Span, Timeline


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
    rows = _by_device(timeline)
    spans = [span for row in rows for span in row]
    pipeline = max(s.end_ns for s in spans) - min(s.start_ns for s in spans) if spans else 0
    busy = [sum(span.end_ns - span.start_ns for span in row) for row in rows]
    ideal, total = max(busy, default=0), sum(busy)
    longest, longest_busy = max(
        ((max(s.end_ns for s in row) - min(s.start_ns for s in row), work) for row, work in zip(rows, busy, strict=True) if row),
        default=(0, 0),
    )
    peaks: tuple[int | None, ...] = timeline.peak_memory_bytes or (None,) * timeline.devices
    return Metrics(
        pipeline_ns=pipeline,
        iteration_ns=timeline.end_ns,
        ideal_ns=ideal,
        bubble_ratio=_one_minus(total, timeline.devices * pipeline),
        bubble_over_ideal=(pipeline - ideal) / ideal if ideal else 0.0,
        bubble_longest_stage=_one_minus(longest_busy, longest),
        utilisation=total / (timeline.devices * timeline.end_ns) if timeline.end_ns else 0.0,
        throughput_samples_per_s=(
            samples_per_iteration * 1e9 / timeline.end_ns if samples_per_iteration and timeline.end_ns else None
        ),
        per_device=tuple(
            DeviceMetrics(device, work, pipeline - work, peak)
            for device, (work, peak) in enumerate(zip(busy, peaks, strict=True))
        ),
    )


def _by_device(timeline: Timeline) -> list[list[Span]]:
    rows: list[list[Span]] = [[] for _ in range(timeline.devices)]
    for span in timeline.spans:
        if span.stream == "compute":
            rows[span.device].append(span)
    return rows


def _one_minus(part: int, whole: int) -> float:
    return (whole - part) / whole if whole else 0.0
