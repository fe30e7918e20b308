"""One launch of ranks that probes, calibrates and (for a validation) runs the judged cases, interleaved.

The calibration runs are short pipelined iterations of schedules that are never judged themselves:
GPipe, DAPPLE and Chimera with few micro-batches. They take turns with the judged cases, so that a machine
whose speed drifts slows both alike; the profile is fitted to the calibration runs only.
"""

from __future__ import annotations

__all__ = ["Session", "SessionConfig", "calibration_schedules", "gradient_bytes", "require_cores", "run_session"]

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.estimate import InPlace, observe
from calibration.fitting import Measurements, fit_profile
from calibration.statistics import disturbed, disturbed_rounds
from executor.cases import Case, Job
from executor.environment import membership
from executor.launch import launch
from executor.results import timelines
from pipeline.errors import InputError
from pipeline.files import schedule_json
from pipeline.models import ModelConfig, config_dict, layers
from pipeline.partition import default_partition
from pipeline.provenance import provenance
from pipeline.schedule import Schedule
from pipeline.schedules import build
from pipeline.timeline import Timeline
from simulator.profile import Profile

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


@dataclass(frozen=True, slots=True)
class Session:
    """What came back: the profile, and per judged case the undisturbed timelines and their rounds."""

    profile: Profile
    calibration_s: float
    calibration_iterations: tuple[int, ...]
    """iteration times in ns of the calibration runs, in time order"""
    timelines: Mapping[str, tuple[Timeline, ...]]
    rounds: Mapping[str, tuple[int, ...]]
    set_aside: Mapping[str, int]
    losses: Mapping[str, tuple[float, ...]]
    peak_memory_bytes: Mapping[str, tuple[int, ...]]


def calibration_schedules(stages: int, judged: Iterable[Schedule] = ()) -> dict[str, Schedule]:
    """The short pipelined runs: GPipe and DAPPLE with D+1 micro-batches and, for even D, Chimera with 2D.

    GPipe shows computations on memory not used for long, DAPPLE those on memory just freed, Chimera
    both, messages that arrive just in time, and the all-reduce. ZB-H1 shows the two parts of a split
    backward; it runs where a judged schedule splits, or where nothing is judged. None repeats a
    judged configuration: it takes one micro-batch (Chimera: one unit) more until it differs.
    """
    judged = list(judged)
    taken = {(item.name, item.microbatches) for item in judged}
    wanted = [("gpipe", stages + 1, 1), ("dapple", stages + 1, 1)]
    if stages % 2 == 0:
        wanted.append(("chimera", 2 * stages, stages))
    if not judged or any(item.split_backward() for item in judged):
        wanted.append(("zb-h1", stages + 1, 1))
    found = {}
    for name, microbatches, step in wanted:
        while (name, microbatches) in taken:
            microbatches += step
        found[f"calibration-{name}"] = build(name, stages=stages, microbatches=microbatches)
    return found


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
    ranks = max(item.devices for item in schedules.values())
    require_cores(ranks)
    job = Job(
        model=config_dict(config.model),
        cases=tuple(Case(label, schedule_json(item), config.microbatch_size) for label, item in schedules.items()),
        rounds=_MOST_ROUNDS,
        warmup=2,
        seconds=seconds,
        seed=config.seed,
        optimizer=config.optimizer,
    )
    results = launch(
        "calibration.probes:measure",
        _payload(config, job),
        ranks=ranks,
        output=config.output,
        deadline_s=_DEADLINE_FACTOR * config.budget_s + _DEADLINE_MARGIN_S,
        on_progress=(lambda elapsed: on_progress("measuring", elapsed)) if on_progress else None,
    )
    return _session(config, schedules, results)


def require_cores(ranks: int) -> None:
    """Timings of ranks that share a core say nothing about ranks that have one each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if ranks > cores and membership() is None:
        raise InputError(
            f"{ranks} ranks on {cores} cores",
            "would measure how ranks share cores, not how long their work takes",
            f"use --stages {cores}, a larger machine, or chimera run --compute paced",
        )


def gradient_bytes(config: ModelConfig, stages: int) -> list[int]:
    """Bytes of the gradients of each stage of the default partition (float32)."""
    described = layers(config)
    return [4 * sum(described[index].parameters for index in cut) for cut in default_partition(config, stages)]


def _payload(config: SessionConfig, job: Job) -> dict[str, Any]:
    cuts, described = default_partition(config.model, config.stages), layers(config.model)
    boundary = max(4 * config.microbatch_size * described[cut[-1]].boundary_elements for cut in cuts[:-1]) if len(cuts) > 1 else 4096
    reduce = max(gradient_bytes(config.model, config.stages))
    return {
        "job": job.payload(),
        "stages": config.stages,
        "microbatch_size": config.microbatch_size,
        "probe_seconds": _PROBE_SHARE * config.budget_s,
        "message_bytes": sorted({4096, boundary // 4, boundary, 4 * boundary}),
        "reduce_bytes": sorted({4096, reduce // 4, reduce}),
    }


def _session(config: SessionConfig, schedules: Mapping[str, Schedule], results: Sequence[Mapping[str, Any]]) -> Session:
    calibration = {label: item for label, item in schedules.items() if label.startswith("calibration-")}
    measured = {label: timelines(results, label) for label in schedules}
    numbers = {label: [record["round"] for record in results[0]["cases"][label]] for label in schedules}
    noisy = disturbed_rounds(_round_durations(calibration, measured, numbers))
    kept: dict[str, tuple[Timeline, ...]] = {}
    rounds: dict[str, tuple[int, ...]] = {}
    aside: dict[str, int] = {}
    for label in schedules:
        steal = _steal(results, label, measured[label])
        single = disturbed([float(t.end_ns) for t in measured[label]], steal)
        flags = [bad or number in noisy for bad, number in zip(single, numbers[label], strict=True)]
        kept[label] = tuple(t for t, bad in zip(measured[label], flags, strict=True) if not bad)
        rounds[label] = tuple(n for n, bad in zip(numbers[label], flags, strict=True) if not bad)
        aside[label] = sum(flags)
        if not kept[label]:
            derived = "nothing is left to judge"
            raise InputError(f"all {len(flags)} iterations of {label} were disturbed", derived, "free the machine and repeat")
    in_place = InPlace()
    for label, schedule in calibration.items():
        observe(schedule, kept[label], gradient_bytes(config.model, config.stages), in_place)
    found = Measurements(
        config.model, config.stages, config.microbatch_size, config.optimizer,
        [result["probes"] for result in results], in_place,
    )  # fmt: skip
    profile = fit_profile(config.model.name, found, _provenance(config, aside))
    judged = [label for label in schedules if label not in calibration]
    busy_ns = sum(t.end_ns for label in calibration for t in measured[label])
    return Session(
        profile=profile,
        calibration_s=results[0]["probe_s"] + busy_ns / 1e9,
        calibration_iterations=tuple(t.end_ns for t in measured[next(iter(calibration))]),
        timelines={label: kept[label] for label in judged},
        rounds={label: rounds[label] for label in judged},
        set_aside={label: aside[label] for label in judged},
        losses={label: _losses(results, label) for label in judged},
        peak_memory_bytes={label: tuple(result["peak_memory_bytes"][label] for result in results) for label in judged},
    )


def _round_durations(
    calibration: Mapping[str, Schedule], measured: Mapping[str, Sequence[Timeline]], numbers: Mapping[str, Sequence[int]]
) -> dict[int, float]:
    """Time of the calibration runs by round."""
    found: dict[int, float] = {}
    for label in calibration:
        for number, timeline in zip(numbers[label], measured[label], strict=True):
            found[number] = found.get(number, 0.0) + timeline.end_ns
    return found


def _steal(results: Sequence[Mapping[str, Any]], label: str, measured: Sequence[Timeline]) -> list[float]:
    """Steal time as a share of an iteration's duration and of the machine's cores."""
    cores = max(len(results), 1)
    records = results[0]["cases"][label]
    return [record["steal_ns"] / (t.end_ns * cores) for record, t in zip(records, measured, strict=True)]


def _losses(results: Sequence[Mapping[str, Any]], label: str) -> tuple[float, ...]:
    rows = [result["cases"][label] for result in results if result["cases"][label]]
    return tuple(sum(record["loss"] for record in records) for records in zip(*rows, strict=True))


def _provenance(config: SessionConfig, aside: Mapping[str, int]) -> dict[str, object]:
    return provenance(seed=config.seed) | {
        "microbatch_size": config.microbatch_size,
        "stages": config.stages,
        "budget_s": config.budget_s,
        "iterations_set_aside": sum(aside.values()),
    }
