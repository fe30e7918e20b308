"""`chimera validate`: calibrate, predict, run, compare - the closed loop."""

from __future__ import annotations

__all__ = ["check_validation", "validate"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Literal, get_args

from chimera.calibration.judging.statistics import Interval, median_interval
from chimera.calibration.judging.validation import Figures, Validation, ValidationCase
from chimera.calibration.measuring.calibrate import calibrate, check_measuring
from chimera.calibration.measuring.pacing import paces
from chimera.calibration.measuring.session import (
    OnProgress,
    Session,
    SessionConfig,
    available_cores,
    require_cores,
    run_session,
)
from chimera.executor.data import Source, check_source
from chimera.executor.verification.gradients import gradient_difference
from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.files.provenance import machine, provenance
from chimera.pipeline.metrics import measure
from chimera.pipeline.models import ModelConfig, layers, model_config
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.steady import steady_iteration_ns
from chimera.pipeline.timeline import Timeline
from chimera.simulator import Prediction, Profile, simulate

Compute = Literal["real", "paced"]
_SAMPLES = 401
"""draws of an iteration: a 90 % interval of a hundred of them alone is off by enough to lose 3 iterations of 100"""
_GRADIENT_TOLERANCE = 1e-10
_PACE_SHARE = 0.3
_DEFAULT = Source()


def validate(
    names: Sequence[str | Schedule],
    *,
    model: str,
    stages: int,
    microbatches: int,
    microbatch_size: int,
    output: Path,
    width: int = 1,
    tolerance: float = 0.05,
    budget_s: float = 20.0,
    compute: str = "real",
    pace: Profile | None = None,
    source: Source = _DEFAULT,
    partition: str | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Validation:
    """Predicts each schedule from calibration runs alone, runs it for real, and compares.

    A name stands for the schedule of so many stages and micro-batches, without options.
    The ranks run calibration and judged iterations in turns for about `budget_s` seconds, on `width`
    copies of the pipeline. With compute "paced", for more ranks than cores, every stage sleeps for
    the costs of `pace`, or of a calibration on as many ranks as there are cores; messages,
    all-reduces, order and memory are real. `partition` is one as `chimera.pipeline.models.partition.Partition.of` takes
    it, for calibration and judged runs alike where the number of stages is the same. Raises InputError for arguments
    that do not fit, RunError when a rank fails.
    """
    schedules = check_validation(
        names,
        model=model,
        stages=stages,
        microbatches=microbatches,
        microbatch_size=microbatch_size,
        width=width,
        budget_s=budget_s,
        compute=compute,
        pace=pace,
        source=source,
        partition=partition,
    )
    config = model_config(model)
    source = check_source(config, source)
    if compute == "real":
        require_cores(max(item.devices for item in schedules.values()) * width)
    partitions = _partitions(config, partition, schedules)
    difference = gradient_difference(
        config, schedules, output=output / "gradients", seed=seed, width=width, partitions=partitions
    )
    if on_progress:
        on_progress("gradients compared with the single-process reference", 0.0)
    wanted = SessionConfig(
        config,
        stages,
        microbatch_size,
        budget_s,
        output,
        seed,
        width=width,
        pace=pace,
        source=source,
        partitions=partitions,
    )
    if compute == "paced" and pace is None:
        wanted = replace(wanted, pace=_own_pace(wanted, on_progress))
    session = run_session(wanted, schedules, seconds=budget_s, on_progress=on_progress)
    cases = tuple(_case(name, item, session, wanted) for name, item in schedules.items())
    return _verdict(wanted, session, cases, difference, tolerance)


def check_validation(
    names: Sequence[str | Schedule],
    *,
    model: str,
    stages: int,
    microbatches: int,
    microbatch_size: int,
    width: int = 1,
    budget_s: float = 20.0,
    compute: str = "real",
    pace: Profile | None = None,
    source: Source = _DEFAULT,
    partition: str | None = None,
) -> dict[str, Schedule]:
    """The schedules of a validation; raises InputError for what is wrong whatever this machine's cores and folders."""
    _check_compute(compute, pace)
    config, found = model_config(model), {}
    for each in names:
        schedule = each if isinstance(each, Schedule) else build(each, stages=stages, microbatches=microbatches)
        found[schedule.name] = schedule
        Partition.default(config, schedule.stages)
    check_source(config, source)
    check_measuring(microbatch_size, budget_s)
    if width < 1:
        raise InputError(f"width {width}", "is no copy of the pipeline", "give 1 or more")
    _partitions(config, partition, found)
    if pace is not None:
        for item in found.values():
            paces(pace, item, microbatch_size, None)
    return found


def _partitions(config: ModelConfig, text: str | None, schedules: Mapping[str, Schedule]) -> dict[int, tuple[int, ...]]:
    """Layers per stage by number of stages; InputError where a list does not fit one of the schedules."""
    if text is None:
        return {}
    costs = [layer.forward_flops for layer in layers(config)]
    depths = {item.stages for item in schedules.values()}
    return {stages: Partition.of(text, costs, stages).counts for stages in sorted(depths)}


def _own_pace(config: SessionConfig, on_progress: OnProgress | None) -> Profile:
    """What paced stages sleep for when no profile says it: measured on as many ranks as there are cores."""
    return calibrate(
        config.model.name,
        stages=min(config.stages, available_cores()),
        microbatch_size=config.microbatch_size,
        budget_s=_PACE_SHARE * config.budget_s,
        output=config.output / "pace",
        source=config.source,
        seed=config.seed,
        on_progress=on_progress,
    )


def _verdict(
    config: SessionConfig, session: Session, cases: tuple[ValidationCase, ...], difference: float, tolerance: float
) -> Validation:
    return Validation(
        machine=machine(),
        compute="real" if config.pace is None else "paced",
        model=config.model.name,
        microbatch_size=config.microbatch_size,
        calibration_s=session.calibration_s,
        repeat_noise=_repeat_noise(cases),
        drift=_drift(session.calibration_iterations),
        tolerance=tolerance,
        cases=cases,
        gradients_match_reference=difference <= _GRADIENT_TOLERANCE,
        max_gradient_difference=difference,
        profile=session.profile,
        provenance=provenance(seed=config.seed),
    )


def _check_compute(compute: str, pace: Profile | None) -> None:
    if compute not in get_args(Compute):
        raise UnknownNameError("compute", compute, get_args(Compute))
    if pace is not None and compute != "paced":
        raise InputError(
            f"the profile {pace.name!r} with compute {compute!r}",
            "real ranks are calibrated here, not told how long they take",
            "drop --profile, or use --compute paced",
        )


def _case(name: str, schedule: Schedule, session: Session, config: SessionConfig) -> ValidationCase:
    prediction = simulate(
        schedule,
        session.profile,
        microbatch_size=config.microbatch_size,
        width=config.width,
        samples=_SAMPLES,
        partition=config.partitions.get(schedule.stages),
    )
    kept = session.judged[name]
    measured = kept.timelines
    assert prediction.typical is not None
    interval = median_interval([t.end_ns / 1e9 for t in measured], blocks=kept.rounds)
    samples = config.microbatch_size * schedule.microbatches * config.width
    peaks = session.peak_memory_bytes[name]
    return ValidationCase(
        schedule=name,
        stages=schedule.stages,
        microbatches=schedule.microbatches,
        width=config.width,
        predicted=_predicted(prediction, samples),
        measured=_measured(schedule, measured, interval, samples, peaks),
        interval=interval,
        predicted_interval_s=prediction.interval_s,
        iterations=len(measured),
        inside_interval=_inside(measured, prediction),
        set_aside=kept.set_aside,
        predicted_timeline=prediction.typical,
        measured_timeline=replace(_typical(measured), peak_memory_bytes=peaks),
    )


def _inside(timelines: Sequence[Timeline], prediction: Prediction) -> int:
    """How many measured iterations took as long as 90 % of the drawn ones do."""
    assert prediction.interval_s is not None
    low, _, high = prediction.interval_s
    return sum(low <= timeline.end_ns / 1e9 <= high for timeline in timelines)


def _predicted(prediction: Prediction, samples: int) -> Figures:
    """The median of the drawn iterations, not the iteration of median actions: waiting adds up.

    Jitter never shortens a wait, so the typical iteration is longer than its actions' medians say.
    """
    assert prediction.interval_s is not None and prediction.typical is not None
    typical_s = prediction.interval_s[1]
    return Figures(
        iteration_s=typical_s,
        bubble_ratio=measure(prediction.typical).bubble_ratio,
        throughput_samples_per_s=samples / typical_s,
        peak_memory_bytes=tuple(device.peak_memory_bytes or 0 for device in prediction.metrics.per_device),
        steady_iteration_s=_steady_s([prediction.typical], prediction.schedule),
    )


def _steady_s(timelines: Sequence[Timeline], schedule: Schedule) -> float | None:
    """The median of what a full pipeline takes for an iteration, in seconds."""
    found = [spent for each in timelines if (spent := steady_iteration_ns(each, schedule)) is not None]
    return median(found) / 1e9 if found else None


def _measured(
    schedule: Schedule, timelines: Sequence[Timeline], interval: Interval, samples: int, peaks: tuple[int, ...]
) -> Figures:
    return Figures(
        iteration_s=interval.median,
        bubble_ratio=median(measure(timeline).bubble_ratio for timeline in timelines),
        throughput_samples_per_s=samples / interval.median,
        peak_memory_bytes=peaks,
        steady_iteration_s=_steady_s(timelines, schedule),
    )


def _typical(timelines: Sequence[Timeline]) -> Timeline:
    """The timeline whose duration is the (lower) median."""
    return sorted(timelines, key=lambda timeline: timeline.end_ns)[(len(timelines) - 1) // 2]


def _repeat_noise(cases: Sequence[ValidationCase]) -> float:
    """Relative difference to expect between two repetitions of the noisiest case: sqrt(2) standard errors."""
    return max(2**0.5 * case.interval.standard_error / case.interval.median for case in cases)


def _drift(iterations: Sequence[int]) -> float:
    """Relative change of the calibration iterations' median from the first to the second half."""
    half = len(iterations) // 2
    return median(iterations[half:]) / median(iterations[:half]) - 1 if half else 0.0
