"""`chimera run`: one schedule for real, with its timelines, losses and memory kept in files."""

from __future__ import annotations

__all__ = ["Run", "run"]

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from calibration.pacing import paces
from executor.cases import Case, Job
from executor.launch import OnProgress, launch
from executor.results import losses, partial_results, timelines
from pipeline.atomic_file import write_text
from pipeline.errors import RunError
from pipeline.files import schedule_json
from pipeline.metrics import Metrics, measure
from pipeline.models import config_dict, model_config
from pipeline.partition import default_partition
from pipeline.provenance import machine, provenance
from pipeline.schedule import Schedule
from pipeline.timeline import Timeline
from pipeline.timeline_file import write_timeline
from pipeline.trace import chrome_trace
from simulator.profile import Profile

_DEADLINE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Run:
    """What a run did: every measured iteration, its loss, and peak memory per rank."""

    schedule: Schedule
    width: int
    microbatch_size: int
    timelines: tuple[Timeline, ...]
    losses: tuple[float, ...]
    peak_memory_bytes: tuple[int, ...]
    rss_bytes: tuple[int, ...]
    machine: Mapping[str, Any]

    @property
    def typical(self) -> Timeline:
        """The iteration whose duration is the (lower) median."""
        return sorted(self.timelines, key=lambda timeline: timeline.end_ns)[(len(self.timelines) - 1) // 2]

    @property
    def metrics(self) -> Metrics:
        """The metrics of the typical iteration."""
        samples = self.microbatch_size * self.schedule.microbatches * self.width
        return measure(self.typical, samples_per_iteration=samples)

    def as_json(self) -> dict[str, Any]:
        """The run as one JSON-able object, schema_version 1."""
        metrics = self.metrics
        return {
            "schema_version": 1,
            "schedule": self.schedule.name,
            "stages": self.schedule.stages,
            "devices": self.schedule.devices,
            "microbatches": self.schedule.microbatches,
            "width": self.width,
            "microbatch_size": self.microbatch_size,
            "compute": "paced" if self.typical.source == "paced" else "real",
            "iteration_s": median(timeline.end_ns for timeline in self.timelines) / 1e9,
            "pipeline_s": metrics.pipeline_ns / 1e9,
            "bubble_ratio": metrics.bubble_ratio,
            "throughput_samples_per_s": metrics.throughput_samples_per_s,
            "utilisation": metrics.utilisation,
            "iterations_s": [timeline.end_ns / 1e9 for timeline in self.timelines],
            "losses": list(self.losses),
            "peak_memory_bytes": list(self.peak_memory_bytes),
            "rss_bytes": list(self.rss_bytes),
            "machine": dict(self.machine),
            "provenance": provenance(),
        }


def run(
    schedule: Schedule,
    *,
    model: str,
    microbatch_size: int,
    output: Path,
    width: int = 1,
    steps: int = 10,
    seed: int = 0,
    pace: Profile | None = None,
    deadline_s: float = _DEADLINE_S,
    on_elapsed: OnProgress | None = None,
) -> Run:
    """Runs `steps` iterations after one that warms up, and writes into `output`:

    run.json, timeline.json (the typical iteration), trace.json and what each rank left in ranks/.
    With a profile as `pace` stages sleep for its costs instead of computing, and there is no loss.
    A run that is cut short leaves the last iteration that all ranks completed in
    partial-timeline.json. Raises InputError for a model that cannot be cut so often, RunError when
    a rank fails.
    """
    config = model_config(model)
    default_partition(config, schedule.stages)
    label = schedule.name
    paced = None if pace is None else paces(pace, schedule, microbatch_size)
    job = Job(
        model=config_dict(config),
        cases=(Case(label, schedule_json(schedule), microbatch_size, width, pace=paced),),
        rounds=steps,
        seed=seed,
    )
    ranks = schedule.devices * width
    try:
        results = launch(
            "executor.job:run_job", job.payload(), ranks=ranks, output=output,
            deadline_s=deadline_s, on_progress=on_elapsed,
        )  # fmt: skip
    except (RunError, KeyboardInterrupt):
        _keep_partial(output, ranks, schedule)
        raise
    found = Run(
        schedule, width, microbatch_size, tuple(timelines(results, label)),
        () if paced else tuple(losses(results, label)),
        tuple(result["peak_memory_bytes"][label] for result in results),
        tuple(result["rss_bytes"] for result in results), machine(),
    )  # fmt: skip
    write_text(output / "run.json", json.dumps(found.as_json(), indent=1))
    write_timeline(found.typical, output / "timeline.json")
    write_text(output / "trace.json", json.dumps(chrome_trace({found.typical.source: found.typical})))
    return found


def _keep_partial(output: Path, ranks: int, schedule: Schedule) -> None:
    found = timelines(partial_results(output, ranks, {schedule.name: schedule.devices}), schedule.name)
    if found:
        write_timeline(found[-1], output / "partial-timeline.json")
