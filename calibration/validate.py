"""`chimera validate`: calibrate, predict, run, compare - the closed loop."""

from __future__ import annotations

__all__ = ["validate"]

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from calibration.session import OnProgress, Session, SessionConfig, require_cores, run_session
from calibration.statistics import Interval, median_interval
from calibration.validation import Figures, Validation, ValidationCase
from calibration.verify import gradient_difference
from pipeline.errors import InputError
from pipeline.metrics import measure
from pipeline.models import model_config
from pipeline.provenance import machine, provenance
from pipeline.schedule import Schedule
from pipeline.schedules import build
from pipeline.timeline import Timeline
from simulator import Prediction, simulate

_SAMPLES = 101
_GRADIENT_TOLERANCE = 1e-10


def validate(
    names: Sequence[str],
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
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Validation:
    """Predicts each schedule from calibration runs alone, runs it for real, and compares.

    The ranks run calibration and judged iterations in turns for about `budget_s` seconds. Raises InputError for
    arguments that do not fit, RunError when a rank fails.
    """
    if width != 1 or compute != "real":
        raise InputError(
            f"width {width}, compute {compute!r}",
            "validation runs one pipeline with real compute so far",
            "leave --width and --compute at their defaults",
        )
    config = model_config(model)
    schedules = {name: build(name, stages=stages, microbatches=microbatches) for name in names}
    session_config = SessionConfig(config, stages, microbatch_size, budget_s, output, seed)
    require_cores(max(item.devices for item in schedules.values()))
    difference = gradient_difference(config, schedules, output=output / "gradients", seed=seed)
    if on_progress:
        on_progress("gradients compared with the single-process reference", 0.0)
    session = run_session(session_config, schedules, seconds=budget_s, on_progress=on_progress)
    cases = tuple(_case(name, item, session, microbatch_size) for name, item in schedules.items())
    return Validation(
        machine=machine(),
        compute=compute,
        model=config.name,
        microbatch_size=microbatch_size,
        calibration_s=session.calibration_s,
        repeat_noise=_repeat_noise(cases),
        drift=_drift(session.calibration_iterations),
        tolerance=tolerance,
        cases=cases,
        gradients_match_reference=difference <= _GRADIENT_TOLERANCE,
        max_gradient_difference=difference,
        profile=session.profile,
        provenance=provenance(seed=seed),
    )


def _case(name: str, schedule: Schedule, session: Session, microbatch_size: int) -> ValidationCase:
    prediction = simulate(schedule, session.profile, microbatch_size=microbatch_size, samples=_SAMPLES)
    measured = session.timelines[name]
    assert prediction.typical is not None
    interval = median_interval([t.end_ns / 1e9 for t in measured], blocks=session.rounds[name])
    samples = microbatch_size * schedule.microbatches
    peaks = session.peak_memory_bytes[name]
    return ValidationCase(
        schedule=name,
        stages=schedule.stages,
        microbatches=schedule.microbatches,
        width=1,
        predicted=_predicted(prediction, samples),
        measured=_measured(measured, interval, samples, peaks),
        interval=interval,
        predicted_interval_s=prediction.interval_s,
        iterations=len(measured),
        set_aside=session.set_aside[name],
        predicted_timeline=prediction.typical,
        measured_timeline=replace(_typical(measured), peak_memory_bytes=peaks),
    )


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
    )


def _measured(timelines: Sequence[Timeline], interval: Interval, samples: int, peaks: tuple[int, ...]) -> Figures:
    return Figures(
        iteration_s=interval.median,
        bubble_ratio=median(measure(timeline).bubble_ratio for timeline in timelines),
        throughput_samples_per_s=samples / interval.median,
        peak_memory_bytes=peaks,
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


