"""`chimera run`: schedules for real, with their timelines, losses and memory kept in files."""

from __future__ import annotations

__all__ = ["Run", "run", "run_several"]

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from chimera.executor.data import Source, name_source
from chimera.executor.jobs.results import durations_ns, score, timelines
from chimera.executor.ranks.environment import is_leader
from chimera.executor.training.train import OnStep, Paces, Training, train
from chimera.pipeline.files.atomic_file import write_text
from chimera.pipeline.files.loss_table import write_losses
from chimera.pipeline.files.provenance import machine, provenance
from chimera.pipeline.files.timeline_file import write_timeline
from chimera.pipeline.files.trace import save_trace
from chimera.pipeline.metrics import Metrics, measure
from chimera.pipeline.models import model_config
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.steady import steady_iteration_ns
from chimera.pipeline.timeline import Timeline

_DEADLINE_S = 300.0


@dataclass(frozen=True, slots=True)
class Run:
    """What a run did: duration and loss of every measured iteration, timelines of some, peak memory per rank.

    The timelines are of between 32 and 64 iterations, evenly spaced, where there are more.
    """

    schedule: Schedule
    width: int
    microbatch_size: int
    timelines: tuple[Timeline, ...]
    iterations_ns: tuple[int, ...]
    losses: tuple[float, ...]
    peak_memory_bytes: tuple[int, ...]
    rss_bytes: tuple[int, ...]
    machine: Mapping[str, Any]
    dtype: str = "float32"
    held_out: tuple[float, float] | None = None
    """accuracy (of classes, or of tokens) and mean loss on samples that were not trained on; None with paced compute"""
    model: str = ""
    data: str = ""
    partition: tuple[int, ...] = ()
    """layers per stage"""
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
        found = [spent for each in self.timelines if (spent := steady_iteration_ns(each, self.schedule)) is not None]
        return median(found) / 1e9 if found else None

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
            "model": self.model,
            "data": self.data,
            "partition": list(self.partition),
            "stages": self.schedule.stages,
            "devices": self.schedule.devices,
            "microbatches": self.schedule.microbatches,
            "width": self.width,
            "microbatch_size": self.microbatch_size,
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
            "precision": self.dtype,
            "accuracy": self.held_out[0] if self.held_out else None,
            "held_out_loss": self.held_out[1] if self.held_out else None,
            "peak_memory_bytes": list(self.peak_memory_bytes),
            "rss_bytes": list(self.rss_bytes),
            "machine": dict(self.machine),
            "provenance": dict(self.provenance),
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
    training: Training | None = None,
    paces: Paces | None = None,
    partitions: Mapping[str, tuple[int, ...]] | None = None,
    deadline_s: float = _DEADLINE_S,
    on_step: OnStep | None = None,
) -> Run:
    """Trains for `steps`, or as `training` says, after one step that warms up and is undone; writes into `output`:

    run.json, timeline.json (the typical iteration), trace.json, losses.csv and losses.json, and what
    each rank left in ranks/. With `paces` stages sleep for so long instead of
    computing, and there is no loss. Raises as `chimera.executor.training.train.train` does.
    """
    (found,) = _measured(
        {schedule.name: schedule},
        training or Training(steps=steps, seed=seed),
        model=model,
        microbatch_size=microbatch_size,
        output=output,
        width=width,
        paces=paces,
        partitions=partitions,
        deadline_s=deadline_s,
        on_step=on_step,
    ).values()
    if not is_leader():  # rank 0 has the same results, and writes them
        return found
    write_text(output / "run.json", json.dumps(found.as_json(), indent=1))
    write_timeline(found.typical, output / "timeline.json")
    save_trace({found.typical.source: found.typical}, output / "trace.json")
    if found.losses:
        write_losses({schedule.name: found.losses}, output)
    return found


def run_several(
    schedules: Sequence[Schedule],
    training: Training,
    *,
    model: str,
    microbatch_size: int,
    output: Path,
    width: int = 1,
    partitions: Mapping[str, tuple[int, ...]] | None = None,
    deadline_s: float = _DEADLINE_S,
    on_step: OnStep | None = None,
) -> dict[str, Run]:
    """Trains schedules of different names in turns, from the same weights on the same data; writes into `output`:

    runs.json, losses.csv and losses.json, trace.json, and the typical iteration of each in
    timelines/NAME.json. Raises as `chimera.executor.training.train.train` does.
    """
    found = _measured(
        {schedule.name: schedule for schedule in schedules},
        training,
        model=model,
        microbatch_size=microbatch_size,
        output=output,
        width=width,
        paces=None,
        partitions=partitions,
        deadline_s=deadline_s,
        on_step=on_step,
    )
    if not is_leader():
        return found
    cases = {"schema_version": 1, "cases": [each.as_json() for each in found.values()]}
    write_text(output / "runs.json", json.dumps(cases, indent=1))
    save_trace({name: each.typical for name, each in found.items()}, output / "trace.json")
    write_losses({name: each.losses for name, each in found.items()}, output)
    for name, each in found.items():
        write_timeline(each.typical, output / "timelines" / f"{name}.json")
    return found


def _measured(schedules: Mapping[str, Schedule], training: Training, **given: Any) -> dict[str, Run]:
    results, losses = train(schedules, training, **given)
    config = model_config(given["model"])
    data, cuts = name_source(config, Source(training.data, training.data_dir)).name, given["partitions"] or {}
    return {
        label: Run(
            schedule,
            given["width"],
            given["microbatch_size"],
            tuple(timelines(results, label)),
            tuple(durations_ns(results, label)),
            () if given["paces"] else tuple(losses[label]),
            tuple(peak for result in results if (peak := result["peak_memory_bytes"].get(label)) is not None),
            tuple(result["rss_bytes"] for result in results),
            machine(),
            training.dtype,
            score(results, label),
            config.name,
            data,
            cuts.get(label) or Partition.default(config, schedule.stages).counts,
        )
        for label, schedule in schedules.items()
    }
