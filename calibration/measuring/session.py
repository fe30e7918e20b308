"""One launch of ranks that probes, calibrates and (for a validation) runs the judged cases, interleaved.

The calibration runs are short pipelined iterations of schedules that are never judged themselves:
GPipe, DAPPLE and Chimera with few micro-batches. They take turns with the judged cases, so that a machine
whose speed drifts slows both alike; the profile is fitted to the calibration runs only.
"""

from __future__ import annotations

__all__ = ["Session", "SessionConfig", "available_cores", "gradient_bytes", "require_cores", "run_session"]

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from chimera.calibration.fitting.misfit import CalibrationRun, cross_validate
from chimera.calibration.fitting.observations import Observations, observe
from chimera.calibration.fitting.profile import Measurements, fit_profile
from chimera.calibration.measuring.disturbances import Kept, keep_undisturbed
from chimera.calibration.measuring.pacing import paced_layers, paces
from chimera.calibration.measuring.probes import RankProbes
from chimera.calibration.measuring.short_runs import calibration_schedules
from chimera.executor.data import Source
from chimera.executor.jobs.cases import Case, Job
from chimera.executor.jobs.results import losses, timelines
from chimera.executor.ranks.environment import membership
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.provenance import provenance
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.grid import Grid
from chimera.pipeline.models import ModelConfig, config_dict, layers
from chimera.pipeline.models.partition import cut
from chimera.pipeline.schedule import Schedule
from chimera.simulator.costs.profile import Profile

OnProgress = Callable[[str, float], None]
_PROBE_SHARE = 0.25
_MOST_ROUNDS = 1000
_DEADLINE_FACTOR, _DEADLINE_MARGIN_S = 10, 120


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What to calibrate, for how long, and with which optimizer and seed."""

    model: ModelConfig
    stages: int
    microbatch_size: int
    budget_s: float
    output: Path
    seed: int = 0
    optimizer: str = "adamw"
    width: int = 1
    pace: Profile | None = None
    """stages sleep for this profile's costs instead of computing"""
    source: Source = field(default_factory=Source)
    """what the ranks train on meanwhile"""
    partitions: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """layers per stage of schedules of so many stages; of others the default partition"""

    def cuts(self, stages: int) -> tuple[range, ...]:
        """The layers of each of so many stages."""
        return cut(self.model, stages, self.partitions.get(stages))


@dataclass(frozen=True, slots=True)
class Session:
    """What came back: the profile, and per judged case the undisturbed timelines and their rounds."""

    profile: Profile
    calibration_s: float
    calibration_iterations: tuple[int, ...]
    """iteration times in ns of the calibration runs, in time order"""
    judged: Mapping[str, Kept]
    losses: Mapping[str, tuple[float, ...]]
    peak_memory_bytes: Mapping[str, tuple[int, ...]]


def run_session(
    config: SessionConfig,
    judged: Mapping[str, Schedule],
    *,
    seconds: float,
    on_progress: OnProgress | None = None,
) -> Session:
    """Launches the ranks once and returns the fitted profile and what the judged cases did.

    All cases take turns for about `seconds`. Raises InputError for a model with fewer layers than
    stages and for more ranks than cores, RunError when a rank fails.
    """
    schedules = {**calibration_schedules(config.stages, judged.values()), **judged}
    ranks = max(item.devices for item in schedules.values()) * config.width
    if config.pace is None:
        require_cores(ranks)
    job = Job(
        model=config_dict(config.model),
        cases=tuple(_case(config, label, item) for label, item in schedules.items()),
        rounds=_MOST_ROUNDS,
        warmup=2,
        seconds=seconds,
        seed=config.seed,
        optimizer=config.optimizer,
        data=config.source.name,
        data_dir=config.source.folder,
    )
    results = launch(
        "chimera.calibration.measuring.probes:measure",
        _payload(config, job, schedules.values()),
        ranks=ranks,
        output=config.output,
        deadline_s=_DEADLINE_FACTOR * config.budget_s + _DEADLINE_MARGIN_S,
        on_progress=(lambda elapsed: on_progress("measuring", elapsed)) if on_progress else None,
    )
    return _session(config, schedules, results)


def require_cores(ranks: int) -> None:
    """Timings of ranks that share a core say nothing about ranks that have one each."""
    cores = available_cores()
    if ranks > cores and membership() is None:
        raise InputError(
            f"{ranks} ranks on {cores} cores",
            "would measure how ranks share cores, not how long their work takes",
            f"use --stages x --width up to {cores}, a larger machine, or --compute paced",
        )


def available_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gradient_bytes(config: ModelConfig, cuts: Iterable[range]) -> list[int]:
    """Bytes of the gradients of each stage (float32)."""
    described = layers(config)
    return [4 * sum(described[index].parameters for index in members) for members in cuts]


def _case(config: SessionConfig, label: str, schedule: Schedule) -> Case:
    partition = config.partitions.get(schedule.stages)
    pace = None if config.pace is None else paces(config.pace, schedule, config.microbatch_size, partition)
    return Case(label, schedule_json(schedule), config.microbatch_size, config.width, partition, pace)


def _payload(config: SessionConfig, job: Job, schedules: Iterable[Schedule]) -> dict[str, Any]:
    cuts, described = config.cuts(config.stages), layers(config.model)
    boundaries = [4 * config.microbatch_size * described[members[-1]].boundary_elements for members in cuts[:-1]]
    boundary, reduce = max(boundaries, default=4096), max(gradient_bytes(config.model, cuts))
    return {
        "job": job.payload(),
        "layers_per_stage": [len(members) for members in cuts],
        "microbatch_size": config.microbatch_size,
        "probe_seconds": _PROBE_SHARE * config.budget_s,
        "message_bytes": sorted({4096, boundary // 4, boundary, 4 * boundary}),
        "reduce_bytes": sorted({4096, reduce // 4, reduce}),
        "reduce_groups": sorted({item.replicas * config.width for item in schedules} - {1}),
        "layers": None
        if config.pace is None
        else [each.to_json() for each in paced_layers(config.pace, config.microbatch_size)],
    }


def _session(config: SessionConfig, schedules: Mapping[str, Schedule], results: Sequence[Mapping[str, Any]]) -> Session:
    calibration = {label: item for label, item in schedules.items() if label.startswith("calibration-")}
    kept = keep_undisturbed(results, schedules, calibration)
    runs = [
        CalibrationRun(item, kept[label], config.partitions.get(item.stages)) for label, item in calibration.items()
    ]
    profile = cross_validate(
        partial(
            _fit, config, [RankProbes.from_json(result["probes"]) for result in results], _provenance(config, kept)
        ),
        runs,
        microbatch_size=config.microbatch_size,
        width=config.width,
    )
    judged = [label for label in schedules if label not in calibration]
    iterations = {label: [t.end_ns for t in timelines(results, label)] for label in calibration}
    return Session(
        profile=profile,
        calibration_s=results[0]["probe_s"] + sum(map(sum, iterations.values())) / 1e9,
        calibration_iterations=tuple(iterations[next(iter(iterations))]),
        judged={label: kept[label] for label in judged},
        losses={label: tuple(losses(results, label)) for label in judged},
        peak_memory_bytes={label: _peaks(results, label, schedules[label].devices) for label in judged},
    )


def _fit(
    config: SessionConfig,
    probes: Sequence[RankProbes],
    origin: Mapping[str, object],
    runs: Sequence[CalibrationRun],
) -> Profile:
    """The profile that the probes and these calibration runs show."""
    observations = Observations()
    sizes = gradient_bytes(config.model, config.cuts(config.stages))
    for run in runs:
        observe(run.schedule, run.kept.timelines, sizes, observations, width=config.width)
    partition = config.partitions.get(config.stages)
    measured = Measurements(
        config.model, config.stages, config.microbatch_size, config.optimizer, probes, observations, partition
    )
    return fit_profile(config.model.name, measured, origin)


def _peaks(results: Sequence[Mapping[str, Any]], label: str, devices: int) -> tuple[int, ...]:
    """Per device, the largest of the peaks of its data-parallel copies; a rank beyond them has none."""
    peaks = [result["peak_memory_bytes"].get(label, 0) for result in results]
    grid = Grid.of_ranks(devices, len(peaks))
    return tuple(max(peaks[rank] for rank in grid.ranks_of([device])) for device in range(devices))


def _provenance(config: SessionConfig, kept: Mapping[str, Kept]) -> dict[str, object]:
    return provenance(seed=config.seed) | {
        "microbatch_size": config.microbatch_size,
        "stages": config.stages,
        "budget_s": config.budget_s,
        "iterations_set_aside": sum(one.set_aside for one in kept.values()),
    }
