"""`chimera validate`: calibrate, predict, run, compare - the closed loop."""

from __future__ import annotations

__all__ = ["check_validation", "validate"]

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

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
from chimera.executor.verification.gradients import gradient_difference
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.provenance import machine, provenance
from chimera.pipeline.grid import Grid
from chimera.pipeline.metrics import measure
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.setting import Layout, Setting, Work
from chimera.pipeline.steady import steady_iteration_ns
from chimera.pipeline.timeline import Timeline
from chimera.simulator import Prediction, Profile, simulate

_SAMPLES = 401
"""draws of an iteration: a 90 % interval of a hundred of them alone is off by enough to lose 3 iterations of 100"""
_GRADIENT_TOLERANCE = 1e-10
_PACE_SHARE = 0.3


def validate(
    names: Sequence[str | Schedule],
    setting: Setting,
    *,
    output: Path,
    tolerance: float = 0.05,
    budget_s: float = 20.0,
    pace: Profile | None = None,
    on_progress: OnProgress | None = None,
) -> Validation:
    """Predicts each schedule from calibration runs alone, runs it for real, and compares.

    A name stands for the schedule of the setting's devices and micro-batches, without options.
    The ranks run calibration and judged iterations in turns for about `budget_s` seconds, on all
    copies of the pipeline. With compute "paced", for more ranks than cores, every stage sleeps for
    the costs of `pace`, or of a calibration on as many ranks as there are cores; messages,
    all-reduces, order and memory are real. Calibration and judged runs are cut alike where the number of stages
    is the same. Raises InputError for a setting that does not fit, also for more ranks than cores, RunError when
    a rank fails.
    """
    schedules, setting = check_validation(names, setting, budget_s=budget_s, pace=pace)
    if setting.run.compute == "real":
        require_cores(setting.layout.over(schedules.values()).grid.gpus)
    difference = gradient_difference(setting, schedules, output=output / "gradients")
    if on_progress:
        on_progress("gradients compared with the single-process reference", 0.0)
    config = SessionConfig(setting, budget_s, output, pace)
    if setting.run.compute == "paced" and pace is None:
        config = replace(config, pace=_own_pace(config, on_progress))
    session = run_session(config, schedules, seconds=budget_s, on_progress=on_progress)
    cases = tuple(_case(name, item, session, setting.of_schedule(item)) for name, item in schedules.items())
    return _verdict(setting, session, cases, difference, tolerance)


def check_validation(
    names: Sequence[str | Schedule], setting: Setting, *, budget_s: float = 20.0, pace: Profile | None = None
) -> tuple[dict[str, Schedule], Setting]:
    """The schedules of a validation by name, and its setting with the data named.

    Raises InputError for all that can be known without this machine's cores and folders.
    """
    setting.run.check()
    _check_compute(setting.run.compute, pace)
    sizes = {"stages": setting.layout.grid.devices, "microbatches": setting.layout.microbatches}
    built = [each if isinstance(each, Schedule) else build(each, **sizes) for each in names]
    schedules = {schedule.name: schedule for schedule in built}
    setting = check_measuring(setting, {schedule.stages for schedule in built}, budget_s)
    if pace is not None:
        for schedule in schedules.values():
            paces(pace, schedule, setting.layout.microbatch_size, None)
    return schedules, setting


def _own_pace(config: SessionConfig, on_progress: OnProgress | None) -> Profile:
    """What paced stages sleep for when no profile says it: measured on as many ranks as there are cores."""
    setting = config.setting
    few = Layout(Grid(min(config.stages, available_cores())), config.microbatch_size)
    alone = Setting(Work(setting.work.model), few, replace(setting.run, compute="real"))
    budget_s = _PACE_SHARE * config.budget_s
    return calibrate(alone, budget_s=budget_s, output=config.output / "pace", on_progress=on_progress)


def _verdict(
    setting: Setting, session: Session, cases: tuple[ValidationCase, ...], difference: float, tolerance: float
) -> Validation:
    return Validation(
        machine=machine(),
        compute="paced" if setting.run.compute == "paced" else "real",
        model=setting.work.model.name,
        microbatch_size=setting.layout.microbatch_size,
        calibration_s=session.calibration_s,
        repeat_noise=_repeat_noise(cases),
        drift=_drift(session.calibration_iterations),
        tolerance=tolerance,
        cases=cases,
        gradients_match_reference=difference <= _GRADIENT_TOLERANCE,
        max_gradient_difference=difference,
        profile=session.profile,
        provenance=provenance(seed=setting.run.seed),
    )


def _check_compute(compute: str, pace: Profile | None) -> None:
    if pace is not None and compute != "paced":
        raise InputError(
            f"the profile {pace.name!r} with compute {compute!r}",
            "real ranks are calibrated here, not told how long they take",
            "drop --profile, or use --compute paced",
        )


def _case(name: str, schedule: Schedule, session: Session, setting: Setting) -> ValidationCase:
    layout = setting.layout
    prediction = simulate(
        schedule,
        session.profile,
        microbatch_size=layout.microbatch_size,
        width=layout.grid.width,
        samples=_SAMPLES,
        partition=layout.partition(schedule.stages),
    )
    kept = session.judged[name]
    measured = kept.timelines
    assert prediction.typical is not None
    interval = median_interval([t.end_ns / 1e9 for t in measured], blocks=kept.rounds)
    peaks = session.peak_memory_bytes[name]
    return ValidationCase(
        schedule=name,
        stages=schedule.stages,
        microbatches=schedule.microbatches,
        width=layout.grid.width,
        predicted=_predicted(prediction, layout.samples),
        measured=_measured(schedule, measured, interval, layout.samples, peaks),
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
