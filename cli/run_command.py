"""`chimera run`: run schedules for real."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chimera.cli.launching import checked
from chimera.cli.options import costs
from chimera.cli.options.grouped import grouped
from chimera.cli.options.partition import PARTITION, layers_per_stage
from chimera.cli.options.selection import SETTINGS, select_several
from chimera.cli.options.training import TrainingOptions, how_far
from chimera.cli.reports.dry_run import report_dry_runs
from chimera.cli.reports.output import note, some_time, usable_folder
from chimera.cli.reports.progress import progress
from chimera.cli.reports.run import report_one, report_several
from chimera.executor.ranks.environment import is_leader
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule

if TYPE_CHECKING:
    from chimera.executor.jobs.cases import Job
    from chimera.executor.training.following import Step
    from chimera.executor.training.train import Paces, Training
    from chimera.simulator import Profile

HELP = """Run schedules for real on torch.distributed: timelines, losses, accuracy, memory.

Several are trained in turns from the same weights on the same data. A run with --checkpoint-every that was cut short
goes on with --resume. With --compute paced the stages sleep for the given costs instead of computing, while messages, \
order and the
memory of activations stay real: for more ranks than cores. Such a run is labelled so and has no losses.

Examples:

    chimera run chimera --model gpt-tiny --stages 2 --microbatches 8 --microbatch-size 4 --output out/run

    chimera run dapple --model gpt-tiny --stages 2 --microbatches 8 --microbatch-size 4 --steps 50 --output out/run

    chimera run chimera gpipe dapple data-parallel --model cnn-tiny --data digits --stages 2 --microbatches 4 \
--microbatch-size 16 --steps 150 --output out/four

    chimera run chimera --model gpt-tiny --stages 2 --microbatches 4 --steps 500 --decay cosine --clip-norm 1 \
--checkpoint-every 100

    chimera run chimera --model gpt-tiny --stages 4 --microbatches 4 --compute paced --forward 20ms --backward 40ms

    chimera run chimera --model gpt-2-64 --stages 64 --microbatches 128 --dry-run
"""


class Compute(StrEnum):
    """Whether stages compute, or sleep for the given costs."""

    REAL = "real"
    PACED = "paced"


@grouped
def command(
    names: list[str] = typer.Argument(..., metavar="NAME...", help="Schedules' names, or one CSV or JSON file."),
    model: str = typer.Option(..., "--model", help="A shipped model's name: see chimera models."),
    stages: int | None = typer.Option(None, "--stages", help="Devices of the pipeline, D."),
    microbatches: int | None = typer.Option(None, "--microbatches", help="Micro-batches per iteration, N."),
    settings: list[str] = SETTINGS,
    microbatch_size: int = typer.Option(4, "--microbatch-size", help="Samples in a micro-batch, B."),
    width: int = typer.Option(1, "--width", help="Data-parallel copies of the pipeline, W."),
    partition: Annotated[str | None, PARTITION] = None,
    how: TrainingOptions = TrainingOptions(),
    compute: Compute = typer.Option(Compute.REAL, "--compute", help="real; paced is for more ranks than cores."),
    pace: costs.Costs = costs.Costs(),
    deadline: str = typer.Option(
        "5min", "--deadline", help="End a run in which no rank has moved for so long, with their last actions."
    ),
    output: Path = typer.Option(Path("out/run"), "--output", help="Folder for timeline, losses and memory."),
    dry: bool = typer.Option(
        False, "--dry-run", help="Walk through every rank in this process; nothing is computed or sent."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Runs one schedule, or several in turns."""
    _refuse_below_one(("--width", width), ("--microbatch-size", microbatch_size))
    training, deadline_s = how.training(), some_time("--deadline", deadline)
    schedules = select_several(names, stages, microbatches, settings)
    profiles = [_profile(compute, pace, partition)] * len(schedules)
    if compute is Compute.PACED:
        _refuse_learning(schedules, how)
    sizes = {
        "model": model,
        "microbatch_size": microbatch_size,
        "width": width,
        "deadline_s": deadline_s,
        "partitions": _partitions(partition, model, schedules, profiles),
    }
    paces = _paces(schedules, profiles[0], sizes) if compute is Compute.PACED else None
    job = _checked(schedules, training, paces, sizes)
    checked()
    if dry:
        report_dry_runs(schedules, sizes, precision=how.precision, as_json=as_json)
        return
    training = _here(job, schedules, training, usable_folder(output))
    _run(schedules, training, paces, output, sizes, as_json=as_json)


def _checked(schedules: list[Schedule], training: Training, paces: Paces | None, sizes: dict[str, Any]) -> Job:
    """What the ranks would be told; InputError for all that they would refuse."""
    from chimera.executor.training.train import check_training

    sizes = {name: value for name, value in sizes.items() if name != "deadline_s"}
    return check_training({each.name: each for each in schedules}, training, paces=paces, **sizes)


def _paces(schedules: list[Schedule], profile: Profile | None, sizes: dict[str, Any]) -> Paces:
    """What every stage sleeps, by schedule."""
    from chimera.calibration.measuring.pacing import paces

    assert profile is not None
    cuts = sizes["partitions"]
    return {each.name: paces(profile, each, sizes["microbatch_size"], cuts.get(each.name)) for each in schedules}


def _here(job: Job, schedules: list[Schedule], training: Training, output: Path) -> Training:
    """The training as it goes on in this folder; InputError for what this host or the folder does not admit."""
    from chimera.executor.jobs.manifest import read_manifest
    from chimera.executor.jobs.memory import check_room
    from chimera.executor.training.train import earlier_losses

    earlier_losses(job, output)
    check_room(job, {each.name: each for each in schedules})
    manifest = read_manifest(output) if training.resume and not training.checkpoint_every else None
    if manifest is None or not manifest.checkpoint_every:
        return training
    note(f"resuming from step {manifest.step}, with a checkpoint every {manifest.checkpoint_every} steps as before")
    return replace(training, checkpoint_every=manifest.checkpoint_every)


def _refuse_below_one(*given: tuple[str, int]) -> None:
    for flag, value in given:
        if value < 1:
            raise InputError(f"{flag} {value}", "is below 1", "give 1 or more")


def _refuse_learning(schedules: list[Schedule], how: TrainingOptions) -> None:
    if len(schedules) > 1 or how.checkpoint_every or how.resume:
        what = "several schedules" if len(schedules) > 1 else "a checkpoint"
        raise InputError(f"{what} with paced compute", "where nothing is learnt", "give --compute real")


def _partitions(
    text: str | None, model: str, schedules: list[Schedule], profiles: list[Profile | None]
) -> dict[str, tuple[int, ...]]:
    """Layers per stage by schedule, where --partition says so."""
    known = [None if profile is None or profile.per_stage else profile for profile in profiles]
    found = {
        each.name: layers_per_stage(text, each, model=model, profile=profile)
        for each, profile in zip(schedules, known, strict=True)
    }
    return {name: partition.counts for name, partition in found.items() if partition is not None}


def _run(
    schedules: list[Schedule],
    training: Training,
    paces: Paces | None,
    output: Path,
    sizes: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from chimera.executor.training.run import run, run_several

    what = f"running {', '.join(item.name for item in schedules)} on {schedules[0].devices * sizes['width']} ranks"
    with progress(what, training.seconds) as advance:

        def _on_step(elapsed: float, step: Step | None) -> None:
            done = step.number / training.steps if step is not None and training.steps else None
            advance(how_far(step, training.steps), elapsed, done)

        if len(schedules) == 1:
            done = run(schedules[0], training=training, paces=paces, output=output, on_step=_on_step, **sizes)
        else:
            several = run_several(schedules, training, output=output, on_step=_on_step, **sizes)
    if not is_leader():
        return
    if len(schedules) == 1:
        report_one(done, output, as_json=as_json)
    else:
        report_several(several, output, as_json=as_json)


def _profile(compute: Compute, given: costs.Costs, partition: str | None) -> Profile | None:
    """The costs that stages sleep for, or by which real ones are balanced; what is computed takes no others."""
    if compute is Compute.PACED:
        return costs.profile_from(given)
    if partition == "balanced" and given.profile is not None:
        return costs.profile_from(given)
    if text := costs.as_text(given):
        raise InputError(f"{text} with real compute", "what is computed takes its own time", "give --compute paced")
    return None
