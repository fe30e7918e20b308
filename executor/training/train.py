"""Schedules trained for real, in turns: same initial weights, same data, one launch of ranks."""

from __future__ import annotations

__all__ = ["DEADLINE_S", "OnStep", "check_training", "earlier_losses", "train"]

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from chimera.executor.data import Source, check_source
from chimera.executor.jobs.cases import Job, Paces, job_of
from chimera.executor.jobs.checks import check_job
from chimera.executor.jobs.manifest import Manifest, checkpoint_folder, read_manifest, refuse_misfit
from chimera.executor.jobs.results import losses, partial_results, timelines
from chimera.executor.ranks.launch import launch
from chimera.executor.training.following import Following, Step
from chimera.pipeline.errors import InputError, RunError
from chimera.pipeline.files.loss_table import write_losses
from chimera.pipeline.files.timeline_file import write_timeline
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.setting import Setting

OnStep = Callable[[float, Step | None], None]
"""(seconds since the start, the last step that every rank completed)"""
DEADLINE_S = 300.0
"""after so long without a move of any rank a run is ended"""
_HELD_OUT = 512
_MOST_STEPS = 1_000_000
_PARTIAL = "partial-timeline.json"
_RESULTS = ("run.json", "runs.json", "timeline.json", "trace.json")
"""what only a whole run leaves (`chimera.executor.training.run`)"""
_DETAILED = 64
"""steps whose spans are kept: enough to find a typical one, few enough for any length of training"""


def train(
    schedules: Mapping[str, Schedule],
    setting: Setting,
    *,
    output: Path,
    paces: Paces | None = None,
    deadline_s: float = DEADLINE_S,
    on_step: OnStep | None = None,
) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    """Trains every schedule from the same weights on the same data, taking turns step by step.

    Returns what each rank returned (see `chimera.executor.jobs.job.run_job`) and the loss of every step by
    label, those before a resumed checkpoint included. With `paces` stages sleep for so long instead of computing.
    A run that is cut short leaves losses.csv and the last iteration that all ranks completed in partial-timeline.json.
    Raises InputError for what cannot be trained or resumed, RunError when a rank fails.
    """
    job = check_training(schedules, setting, paces)
    known = earlier_losses(job, output)
    ranks = setting.layout.over(schedules.values()).grid.gpus
    following = Following(output, setting.run.steps)
    try:
        results = launch(
            "chimera.executor.jobs.job:run_job",
            job.payload(),
            ranks=ranks,
            output=output,
            deadline_s=deadline_s,
            on_progress=(lambda elapsed: on_step(elapsed, following.latest(elapsed))) if on_step else None,
        )
    except (RunError, KeyboardInterrupt) as error:
        _keep_partial(output, ranks, schedules, known)
        raise _with_resume(error, output) from error
    _drop(output, (_PARTIAL,))
    return results, {label: known[label] + losses(results, label) for label in schedules}


def check_training(schedules: Mapping[str, Schedule], setting: Setting, paces: Paces | None = None) -> Job:
    """The job of a training; raises InputError for all that can be known without a rank or the output folder."""
    work, run = setting.work, setting.run
    for schedule in schedules.values():
        setting.partition(schedule.stages)
    source = check_source(work.model, Source(run.data, run.data_dir))
    setting.check()
    setting = replace(setting, run=replace(run, data=source.name, data_dir=source.folder))
    job = replace(
        job_of(setting, schedules, paces),
        rounds=run.steps or _MOST_STEPS,
        restart=True,
        held_out=_HELD_OUT,
        detailed=_DETAILED,
    )
    check_job(job, schedules, run.device)
    return job


def earlier_losses(job: Job, output: Path) -> dict[str, list[float]]:
    """The losses by case of the steps before a resumed checkpoint; InputError for an unfit one or one to be lost."""
    manifest = read_manifest(output)
    if job.resume:
        _check_resume(manifest, job, output)
    elif manifest is not None:
        raise InputError(
            f"{output} holds a checkpoint of step {manifest.step}",
            "a new training would take its place",
            "give --resume to go on from it, or another --output",
        )
    return {case.label: list(manifest.losses[case.label]) if manifest else [] for case in job.cases}


def _check_resume(manifest: Manifest | None, job: Job, output: Path) -> None:
    if manifest is None:
        raise InputError(
            f"nothing to resume in {checkpoint_folder(output)}", "no checkpoint was completed there", "drop --resume"
        )
    refuse_misfit(manifest, job)
    if manifest.step >= job.rounds:
        raise InputError(
            f"--resume for {job.rounds} steps", f"the checkpoint has {manifest.step} behind it", "give more --steps"
        )


def _keep_partial(
    output: Path, ranks: int, schedules: Mapping[str, Schedule], known: Mapping[str, list[float]]
) -> None:
    """Best effort: where the disk is full, the reason of the failure must still be heard."""
    found = partial_results(output, ranks, {label: item.devices for label, item in schedules.items()})
    done = {label: known[label] + losses(found, label) for label in schedules}
    if any(losses(found, label) for label in schedules):
        _drop(output, _RESULTS)  # of an earlier run here: they would be taken for this one's
    with suppress(InputError, OSError):
        if any(done.values()):
            write_losses(done, output)
        for label in schedules:
            if complete := timelines(found, label):
                write_timeline(complete[-1], output / _PARTIAL)


def _drop(output: Path, names: Iterable[str]) -> None:
    for name in names:
        with suppress(OSError):
            (output / name).unlink()


def _with_resume(error: RunError | KeyboardInterrupt, output: Path) -> BaseException:
    """The error, with the way on in its hint if there is one."""
    manifest = read_manifest(output)
    if manifest is None or not isinstance(error, RunError):
        return error
    way_on = f"the same command with --resume goes on from step {manifest.step}"
    return RunError(error.given, error.derived, f"{error.remedy}; {way_on}" if error.remedy else way_on)
