"""Schedules trained for real, in turns: same initial weights, same data, one launch of ranks."""

from __future__ import annotations

__all__ = ["OnStep", "Paces", "Training", "check_training", "earlier_losses", "train"]

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from chimera.executor.data import Source, check_source
from chimera.executor.jobs.cases import Case, Job
from chimera.executor.jobs.checks import check_job
from chimera.executor.jobs.manifest import Manifest, checkpoint_folder, read_manifest, refuse_misfit
from chimera.executor.jobs.pace import Pace
from chimera.executor.jobs.results import losses, partial_results, timelines
from chimera.executor.ranks.launch import launch
from chimera.executor.training.following import Following, Step
from chimera.pipeline.errors import InputError, RunError
from chimera.pipeline.files.loss_table import write_losses
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.files.timeline_file import write_timeline
from chimera.pipeline.models import config_dict, model_config
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedule import Schedule

OnStep = Callable[[float, Step | None], None]
"""(seconds since the start, the last step that every rank completed)"""
Paces = Mapping[str, tuple[Pace, ...]]
"""by label, what each stage sleeps instead of computing"""
_HELD_OUT = 512
_MOST_STEPS = 1_000_000
_PARTIAL = "partial-timeline.json"
_RESULTS = ("run.json", "runs.json", "timeline.json", "trace.json")
"""what only a whole run leaves (`chimera.executor.training.run`)"""
_DETAILED = 64
"""steps whose spans are kept: enough to find a typical one, few enough for any length of training"""


@dataclass(frozen=True, slots=True)
class Training:
    """How to train: see `chimera.executor.jobs.cases.Job` for the fields that it shares.

    `steps` None goes on for `seconds`. A `decay` reaches zero with the last step.
    """

    steps: int | None = 10
    seconds: float | None = None
    seed: int = 0
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    decay: str = "constant"
    rate_warmup: int = 0
    clip_norm: float | None = None
    dtype: str = "float32"
    checkpoint_every: int = 0
    resume: bool = False
    data: str = ""
    data_dir: str | None = None
    """see `chimera.executor.data.Source`"""

    def job(self, model: dict[str, Any], cases: tuple[Case, ...]) -> Job:
        """The job that trains these cases. Raises InputError for settings that do not fit one another."""
        if self.steps is None and self.seconds is None:
            raise InputError("neither steps nor seconds", "training would never end", "give --steps or --seconds")
        if self.steps is None and self.decay != "constant":
            raise InputError(f"a {self.decay} decay without steps", "it would not know where to end", "give --steps")
        shared = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "steps"}
        rate_steps = 0 if self.decay == "constant" else self.steps or 0
        job = Job(
            model,
            cases,
            rounds=self.steps or _MOST_STEPS,
            rate_steps=rate_steps,
            restart=True,
            held_out=_HELD_OUT,
            detailed=_DETAILED,
            **shared,
        )
        return job


def train(
    schedules: Mapping[str, Schedule],
    training: Training,
    *,
    model: str,
    microbatch_size: int,
    output: Path,
    width: int = 1,
    paces: Paces | None = None,
    partitions: Mapping[str, tuple[int, ...]] | None = None,
    deadline_s: float = 300.0,
    on_step: OnStep | None = None,
) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    """Trains every schedule from the same weights on the same data, taking turns step by step.

    Returns what each rank returned (see `chimera.executor.jobs.job.run_job`) and the loss of every step by
    label, those before a resumed checkpoint included. `partitions` are layers per stage by label; a
    schedule without one is cut as `chimera.pipeline.models.partition.Partition.default` says. A run that is cut
    short leaves losses.csv and the last iteration that all ranks completed in partial-timeline.json.
    Raises InputError for what cannot be trained or resumed, RunError when a rank fails.
    """
    job = check_training(
        schedules,
        training,
        model=model,
        microbatch_size=microbatch_size,
        width=width,
        paces=paces,
        partitions=partitions,
    )
    known = earlier_losses(job, output)
    ranks = max(item.devices for item in schedules.values()) * width
    following = Following(output, training.steps)
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


def check_training(
    schedules: Mapping[str, Schedule],
    training: Training,
    *,
    model: str,
    microbatch_size: int,
    width: int = 1,
    paces: Paces | None = None,
    partitions: Mapping[str, tuple[int, ...]] | None = None,
) -> Job:
    """The job of a training; raises InputError for all that can be known without a rank or the output folder."""
    config = model_config(model)
    for item in schedules.values():
        Partition.default(config, item.stages)
    source = check_source(config, Source(training.data, training.data_dir))
    training = replace(training, data=source.name, data_dir=source.folder)
    job = training.job(config_dict(config), _cases(schedules, microbatch_size, width, paces, partitions or {}))
    check_job(job, schedules)
    return job


def _cases(
    schedules: Mapping[str, Schedule], size: int, width: int, paces: Paces | None, cuts: Mapping[str, tuple[int, ...]]
) -> tuple[Case, ...]:
    return tuple(
        Case(
            label,
            schedule_json(item),
            size,
            width,
            cuts.get(label),
            None if paces is None else paces[label],
        )
        for label, item in schedules.items()
    )


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
