"""One launch of ranks that probes, calibrates and (for a validation) runs the judged cases, interleaved.

The calibration runs are short pipelined iterations of schedules that are never judged themselves:
GPipe, DAPPLE and Chimera with few micro-batches. They take turns with the judged cases, so that a machine
whose speed drifts slows both alike; the profile is fitted to the calibration runs only.
"""

from __future__ import annotations

__all__ = ["Session", "SessionConfig", "available_cores", "require_cores", "run_session"]

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from chimera.executor.jobs.cases import Job, Paces, job_of
from chimera.executor.jobs.results import losses, timelines
from chimera.executor.ranks.environment import membership
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.provenance import provenance
from chimera.pipeline.grid import Grid
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.setting import Setting
from chimera.simulator.costs.profile import Profile

OnProgress = Callable[[str, float], None]
_PROBE_SHARE = 0.25
_MOST_ROUNDS = 1000
_DEADLINE_FACTOR, _DEADLINE_MARGIN_S = 10, 120


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What to calibrate (the grid's devices are the stages), for how long, and where ranks write."""

    setting: Setting
    budget_s: float
    output: Path
    pace: Profile | None = None
    """stages sleep for this profile's costs instead of computing"""

    @property
    def stages(self) -> int:
        """The stages of the calibration runs."""
        return self.setting.layout.grid.devices

    @property
    def microbatch_size(self) -> int:
        """Samples in a micro-batch."""
        return self.setting.layout.microbatch_size

    @property
    def width(self) -> int:
        """Copies of the pipeline."""
        return self.setting.layout.grid.width

    def counts(self, stages: int) -> tuple[int, ...] | None:
        """Layers per stage of so many stages; None: the default partition."""
        partition = self.setting.layout.partition(stages)
        return None if partition is None else partition.counts


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
    stages, RunError when a rank fails. Whoever times real ranks has called `require_cores` before.
    """
    schedules = {**calibration_schedules(config.stages, judged.values()), **judged}
    job = replace(
        job_of(config.setting, schedules, _paces(config, schedules)), rounds=_MOST_ROUNDS, warmup=2, seconds=seconds
    )
    results = launch(
        "chimera.calibration.measuring.probes:measure",
        _payload(config, job, schedules.values()),
        ranks=config.setting.layout.over(schedules.values()).grid.gpus,
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


def _paces(config: SessionConfig, schedules: Mapping[str, Schedule]) -> Paces | None:
    profile, size = config.pace, config.microbatch_size
    if profile is None:
        return None
    return {label: paces(profile, item, size, config.counts(item.stages)) for label, item in schedules.items()}


def _payload(config: SessionConfig, job: Job, schedules: Iterable[Schedule]) -> dict[str, Any]:
    setting = config.setting
    boundary = max(setting.boundary_bytes(config.stages), default=4096)
    reduce = max(setting.gradient_bytes(config.stages))
    return {
        "job": job.payload(),
        "layers_per_stage": list(setting.partition(config.stages)),
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
    runs = [CalibrationRun(item, kept[label], config.counts(item.stages)) for label, item in calibration.items()]
    probes = [RankProbes.from_json(result["probes"]) for result in results]
    profile = cross_validate(
        partial(_fit, config, probes, _provenance(config, kept)),
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
    setting = config.setting
    sizes = setting.gradient_bytes(config.stages)
    for run in runs:
        observe(run.schedule, run.kept.timelines, sizes, observations, width=config.width)
    model, optimizer = setting.work.model, setting.work.optimizer.name
    measured = Measurements(
        model, config.stages, config.microbatch_size, optimizer, probes, observations, config.counts(config.stages)
    )
    return fit_profile(model.name, measured, origin)


def _peaks(results: Sequence[Mapping[str, Any]], label: str, devices: int) -> tuple[int, ...]:
    """Per device, the largest of the peaks of its data-parallel copies; a rank beyond them has none."""
    peaks = [result["peak_memory_bytes"].get(label, 0) for result in results]
    grid = Grid.of_ranks(devices, len(peaks))
    return tuple(max(peaks[rank] for rank in grid.ranks_of([device])) for device in range(devices))


def _provenance(config: SessionConfig, kept: Mapping[str, Kept]) -> dict[str, object]:
    return provenance(seed=config.setting.run.seed) | {
        "microbatch_size": config.microbatch_size,
        "stages": config.stages,
        "budget_s": config.budget_s,
        "iterations_set_aside": sum(one.set_aside for one in kept.values()),
    }
