"""`chimera run`: run schedules for real."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.launching import checked
from cli.options import costs
from cli.options.grouped import grouped
from cli.options.partition import PARTITION, layers_per_stage
from cli.options.selection import SETTINGS, select_several
from cli.options.training import TrainingOptions, how_far
from cli.reports.dry_run import report_dry_runs
from cli.reports.output import note, some_time, usable_folder
from cli.reports.progress import progress
from cli.reports.run import report_one, report_several
from executor.ranks.environment import is_leader
from pipeline.errors import InputError
from pipeline.schedule import Schedule

if TYPE_CHECKING:
    from calibration.following import Step
    from calibration.training import Training
    from executor.cases import Job
    from simulator import Profile

HELP = """Run schedules for real on torch.distributed: timelines, losses, accuracy, memory.

Several are trained in turns from the same weights on the same data. A run with --checkpoint-every that was cut short
goes on with --resume. With --compute paced the stages sleep for the given costs instead of computing, while messages, order and the
memory of activations stay real: for more ranks than cores. Such a run is labelled so and has no losses.

Examples:

    chimera run chimera --model gpt-tiny --stages 2 --microbatches 8 --microbatch-size 4 --output out/run

    chimera run dapple --model gpt-tiny --stages 2 --microbatches 8 --microbatch-size 4 --steps 50 --output out/run

    chimera run chimera gpipe dapple data-parallel --model cnn-tiny --data digits --stages 2 --microbatches 4 --microbatch-size 16 --steps 150 --output out/four

    chimera run chimera --model gpt-tiny --stages 2 --microbatches 4 --steps 500 --decay cosine --clip-norm 1 --checkpoint-every 100

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
    deadline: str = typer.Option("5min", "--deadline", help="End a run in which no rank has moved for so long, with their last actions."),
    output: Path = typer.Option(Path("out/run"), "--output", help="Folder for timeline, losses and memory."),
    dry: bool = typer.Option(False, "--dry-run", help="Walk through every rank in this process; nothing is computed or sent."),
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
        "model": model, "microbatch_size": microbatch_size, "width": width, "deadline_s": deadline_s,
        "partitions": _partitions(partition, model, schedules, profiles),
    }  # fmt: skip
    pace_of = profiles[0] if compute is Compute.PACED else None
    job = _checked(schedules, training, pace_of, sizes)
    checked()
    if dry:
        report_dry_runs(schedules, sizes, precision=how.precision, as_json=as_json)
        return
    training = _here(job, schedules, training, usable_folder(output))
    _run(schedules, training, pace_of, output, sizes, as_json=as_json)


def _checked(schedules: list[Schedule], training: Training, pace: Profile | None, sizes: dict[str, Any]) -> Job:
    """What the ranks would be told; InputError for all that they would refuse."""
    from calibration.training import check_training

    sizes = {name: value for name, value in sizes.items() if name != "deadline_s"}
    return check_training({each.name: each for each in schedules}, training, pace=pace, **sizes)


def _here(job: Job, schedules: list[Schedule], training: Training, output: Path) -> Training:
    """The training as it goes on in this folder; InputError for what this host or the folder does not admit."""
    from calibration.room import check_room
    from calibration.training import earlier_losses
    from executor.manifest import read_manifest

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
    return {name: counts for name, counts in found.items() if counts is not None}


def _run(
    schedules: list[Schedule], training: Training, pace: Profile | None, output: Path, sizes: dict[str, Any], *, as_json: bool
) -> None:
    from calibration.run import run, run_several

    what = f"running {', '.join(item.name for item in schedules)} on {schedules[0].devices * sizes['width']} ranks"
    with progress(what, training.seconds) as advance:

        def _on_step(elapsed: float, step: Step | None) -> None:
            done = step.number / training.steps if step is not None and training.steps else None
            advance(how_far(step, training.steps), elapsed, done)

        if len(schedules) == 1:
            done = run(schedules[0], training=training, pace=pace, output=output, on_step=_on_step, **sizes)
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
