"""`chimera run`: run schedules for real."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chimera.cli.launching import checked
from chimera.cli.options import costs
from chimera.cli.options.grouped import grouped
from chimera.cli.options.partition import PARTITION, partitions
from chimera.cli.options.selection import SETTINGS, select_several
from chimera.cli.options.training import TrainingOptions, how_far
from chimera.cli.reports.dry_run import report_dry_runs
from chimera.cli.reports.output import note, some_time, usable_folder
from chimera.cli.reports.progress import progress
from chimera.cli.reports.run import report_one, report_several
from chimera.executor.ranks.environment import is_leader
from chimera.pipeline.errors import InputError
from chimera.pipeline.grid import Grid
from chimera.pipeline.models import model_config
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.setting import Compute, Layout, Setting

if TYPE_CHECKING:
    from chimera.executor.jobs.cases import Job, Paces
    from chimera.executor.training.following import Step
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
    compute: Compute = typer.Option("real", "--compute", help="real; paced is for more ranks than cores."),
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
    run, deadline_s = how.run(compute), some_time("--deadline", deadline)
    schedules = select_several(names, stages, microbatches, settings)
    profile = _profile(compute, pace, partition)
    if compute == "paced":
        _refuse_learning(schedules, how)
    cuts = partitions(partition, schedules, model=model, profile=None if profile and profile.per_stage else profile)
    layout = Layout(Grid(1, width), microbatch_size, partitions=cuts).over(schedules)
    setting = Setting(how.work(model_config(model)), layout, run)
    paces = _paces(schedules, profile, setting) if compute == "paced" else None
    job = _checked(schedules, setting, paces)
    checked()
    if dry:
        report_dry_runs(schedules, setting, as_json=as_json)
        return
    setting = _here(job, schedules, setting, usable_folder(output))
    _run(schedules, setting, paces, output, deadline_s, as_json=as_json)


def _checked(schedules: list[Schedule], setting: Setting, paces: Paces | None) -> Job:
    """What the ranks would be told; InputError for all that they would refuse."""
    from chimera.executor.training.train import check_training

    return check_training({each.name: each for each in schedules}, setting, paces)


def _paces(schedules: list[Schedule], profile: Profile | None, setting: Setting) -> Paces:
    """What every stage sleeps, by schedule."""
    from chimera.calibration.measuring.pacing import paces

    assert profile is not None
    layout = setting.layout
    return {
        each.name: paces(profile, each, layout.microbatch_size, layout.partition(each.stages)) for each in schedules
    }


def _here(job: Job, schedules: list[Schedule], setting: Setting, output: Path) -> Setting:
    """The setting as it goes on in this folder; InputError for what this host or the folder does not admit."""
    from chimera.executor.jobs.manifest import read_manifest
    from chimera.executor.jobs.memory import check_room
    from chimera.executor.training.train import earlier_losses

    earlier_losses(job, output)
    check_room(job, {each.name: each for each in schedules})
    run = setting.run
    manifest = read_manifest(output) if run.resume and not run.checkpoint_every else None
    if manifest is None or not manifest.checkpoint_every:
        return setting
    note(f"resuming from step {manifest.step}, with a checkpoint every {manifest.checkpoint_every} steps as before")
    return replace(setting, run=replace(run, checkpoint_every=manifest.checkpoint_every))


def _refuse_below_one(*given: tuple[str, int]) -> None:
    for flag, value in given:
        if value < 1:
            raise InputError(f"{flag} {value}", "is below 1", "give 1 or more")


def _refuse_learning(schedules: list[Schedule], how: TrainingOptions) -> None:
    if len(schedules) > 1 or how.checkpoint_every or how.resume:
        what = "several schedules" if len(schedules) > 1 else "a checkpoint"
        raise InputError(f"{what} with paced compute", "where nothing is learnt", "give --compute real")


def _run(
    schedules: list[Schedule],
    setting: Setting,
    paces: Paces | None,
    output: Path,
    deadline_s: float,
    *,
    as_json: bool,
) -> None:
    from chimera.executor.training.run import run, run_several

    first, steps = schedules[0], setting.run.steps
    ranks = setting.of_schedule(first).ranks
    what = f"running {', '.join(item.name for item in schedules)} on {ranks} ranks"
    with progress(what, setting.run.seconds) as advance:

        def _on_step(elapsed: float, step: Step | None) -> None:
            done = step.number / steps if step is not None and steps else None
            advance(how_far(step, steps), elapsed, done)

        if len(schedules) == 1:
            result = run(first, setting, output=output, paces=paces, deadline_s=deadline_s, on_step=_on_step)
        else:
            results = run_several(schedules, setting, output=output, deadline_s=deadline_s, on_step=_on_step)
    if not is_leader():
        return
    if len(schedules) == 1:
        report_one(result, output, as_json=as_json)
    else:
        report_several(results, output, as_json=as_json)


def _profile(compute: Compute, given: costs.Costs, partition: str | None) -> Profile | None:
    """The costs that stages sleep for, or by which real ones are balanced; what is computed takes no others."""
    if compute == "paced":
        return costs.profile_from(given)
    if partition == "balanced" and given.profile is not None:
        return costs.profile_from(given)
    if text := costs.as_text(given):
        raise InputError(f"{text} with real compute", "what is computed takes its own time", "give --compute paced")
    return None
