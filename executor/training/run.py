"""`chimera run`: schedules for real, with their timelines, losses and memory kept in files."""

from __future__ import annotations

__all__ = ["RunResult", "run", "run_several"]

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from chimera.executor.data import Source, name_source
from chimera.executor.jobs.cases import Paces
from chimera.executor.jobs.results import durations_ns, score, timelines
from chimera.executor.ranks.environment import is_leader
from chimera.executor.training.train import DEADLINE_S, OnStep, train
from chimera.pipeline.files.atomic_file import write_text
from chimera.pipeline.files.loss_table import write_losses
from chimera.pipeline.files.provenance import machine, provenance
from chimera.pipeline.files.timeline_file import write_timeline
from chimera.pipeline.files.trace import save_trace
from chimera.pipeline.metrics import Metrics, measure
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.setting import Setting
from chimera.pipeline.steady import steady_iteration_ns
from chimera.pipeline.timeline import Timeline


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did: duration and loss of every measured iteration, timelines of some, peak memory per rank.

    The timelines are of between 32 and 64 iterations, evenly spaced, where there are more.
    """

    schedule: Schedule
    setting: Setting
    timelines: tuple[Timeline, ...]
    iterations_ns: tuple[int, ...]
    losses: tuple[float, ...]
    peak_memory_bytes: tuple[int, ...]
    rss_bytes: tuple[int, ...]
    machine: Mapping[str, Any]
    held_out: tuple[float, float] | None = None
    """accuracy (of classes, or of tokens) and mean loss on samples that were not trained on; None with paced compute"""
    provenance: Mapping[str, Any] = field(default_factory=provenance)

    @property
    def training_s(self) -> float:
        """What the measured steps took together, without what lies between them."""
        return sum(self.iterations_ns) / 1e9

    @property
    def typical(self) -> Timeline:
        """Of the iterations with a timeline, the one whose duration is the (lower) median."""
        return sorted(self.timelines, key=lambda timeline: timeline.end_ns)[(len(self.timelines) - 1) // 2]

    @property
    def steady_iteration_s(self) -> float | None:
        """What an iteration takes while the pipeline is full, the median; None with a flush, or few micro-batches."""
        spent = [steady_iteration_ns(each, self.schedule) for each in self.timelines]
        full = [each for each in spent if each is not None]
        return median(full) / 1e9 if full else None

    @property
    def metrics(self) -> Metrics:
        """The metrics of the typical iteration."""
        return measure(self.typical, samples_per_iteration=self.setting.samples)

    def as_json(self) -> dict[str, Any]:
        """The run as one JSON-able object, schema_version 1."""
        metrics, setting = self.metrics, self.setting
        return {
            "schema_version": 1,
            "schedule": self.schedule.name,
            "model": setting.work.model.name,
            "data": setting.run.data,
            "partition": list(setting.partition(self.schedule.stages)),
            "stages": self.schedule.stages,
            "devices": self.schedule.devices,
            "microbatches": self.schedule.microbatches,
            "width": setting.layout.grid.width,
            "microbatch_size": setting.layout.microbatch_size,
            "compute": "paced" if self.typical.source == "paced" else "real",
            "iteration_s": median(self.iterations_ns) / 1e9,
            "pipeline_s": metrics.pipeline_ns / 1e9,
            "bubble_ratio": metrics.bubble_ratio,
            "throughput_samples_per_s": metrics.throughput_samples_per_s,
            "utilisation": metrics.utilisation,
            **({} if self.steady_iteration_s is None else {"steady_iteration_s": self.steady_iteration_s}),
            "iterations_s": [duration / 1e9 for duration in self.iterations_ns],
            "losses": list(self.losses),
            "training_s": self.training_s,
            "precision": setting.work.precision,
            "accuracy": self.held_out[0] if self.held_out else None,
            "held_out_loss": self.held_out[1] if self.held_out else None,
            "peak_memory_bytes": list(self.peak_memory_bytes),
            "rss_bytes": list(self.rss_bytes),
            "machine": dict(self.machine),
            "provenance": dict(self.provenance),
        }


def run(
    schedule: Schedule,
    setting: Setting,
    *,
    output: Path,
    paces: Paces | None = None,
    deadline_s: float = DEADLINE_S,
    on_step: OnStep | None = None,
) -> RunResult:
    """Trains as the setting says, after one step that warms up and is undone; writes into `output`:

    run.json, timeline.json (the typical iteration), trace.json, losses.csv and losses.json, and what
    each rank left in ranks/. With `paces` stages sleep for so long instead of
    computing, and there is no loss. Raises as `chimera.executor.training.train.train` does.
    """
    by_name = {schedule.name: schedule}
    trained = train(by_name, setting, output=output, paces=paces, deadline_s=deadline_s, on_step=on_step)
    (result,) = _results(by_name, setting, *trained, paced=paces is not None).values()
    if not is_leader():  # rank 0 has the same results, and writes them
        return result
    write_text(output / "run.json", json.dumps(result.as_json(), indent=1))
    write_timeline(result.typical, output / "timeline.json")
    save_trace({result.typical.source: result.typical}, output / "trace.json")
    if result.losses:
        write_losses({schedule.name: result.losses}, output)
    return result


def run_several(
    schedules: Sequence[Schedule],
    setting: Setting,
    *,
    output: Path,
    deadline_s: float = DEADLINE_S,
    on_step: OnStep | None = None,
) -> dict[str, RunResult]:
    """Trains schedules of different names in turns, from the same weights on the same data; writes into `output`:

    runs.json, losses.csv and losses.json, trace.json, and the typical iteration of each in
    timelines/NAME.json. Raises as `chimera.executor.training.train.train` does.
    """
    by_name = {schedule.name: schedule for schedule in schedules}
    trained = train(by_name, setting, output=output, deadline_s=deadline_s, on_step=on_step)
    results = _results(by_name, setting, *trained)
    if not is_leader():
        return results
    cases = {"schema_version": 1, "cases": [each.as_json() for each in results.values()]}
    write_text(output / "runs.json", json.dumps(cases, indent=1))
    save_trace({name: each.typical for name, each in results.items()}, output / "trace.json")
    write_losses({name: each.losses for name, each in results.items()}, output)
    for name, each in results.items():
        write_timeline(each.typical, output / "timelines" / f"{name}.json")
    return results


def _results(
    schedules: Mapping[str, Schedule],
    setting: Setting,
    records: list[dict[str, Any]],
    losses: Mapping[str, Sequence[float]],
    *,
    paced: bool = False,
) -> dict[str, RunResult]:
    data = name_source(setting.work.model, Source(setting.run.data, setting.run.data_dir))
    setting = replace(setting, run=replace(setting.run, data=data.name, data_dir=data.folder))
    return {
        label: RunResult(
            schedule,
            setting.of_schedule(schedule),
            tuple(timelines(records, label)),
            tuple(durations_ns(records, label)),
            () if paced else tuple(losses[label]),
            tuple(peak for record in records if (peak := record["peak_memory_bytes"].get(label)) is not None),
            tuple(record["rss_bytes"] for record in records),
            machine(),
            score(records, label),
        )
        for label, schedule in schedules.items()
    }
