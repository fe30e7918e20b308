"""`chimera run`: run schedules for real."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli import costs
from cli import training_options as options
from cli.option_groups import grouped
from cli.output import duration_ns, usable_folder
from cli.progress import progress
from cli.run_report import report_one, report_several
from cli.selection import SETTINGS, select
from executor.environment import is_leader
from pipeline.errors import InputError
from pipeline.schedule import Schedule

if TYPE_CHECKING:
    from calibration.following import Step
    from calibration.training import Training
    from simulator import Profile

HELP = """Run schedules for real on torch.distributed: timelines, losses, accuracy, memory.

Several are trained in turns from the same weights on the same data. A run with --checkpoint-every that was cut short
goes on with --resume. With --compute paced the stages sleep for the given costs instead of computing, while messages, order and the
memory of activations stay real: for more ranks than cores. Such a run is labelled so and has no losses.

Examples:

    chimera run chimera --model gpt-tiny --stages 2 --microbatches 8 --microbatch-size 4 --output out/run

    chimera run dapple --model gpt-tiny --stages 2 --microbatches 8 --microbatch-size 4 --steps 50 --output out/run

    chimera run chimera gpipe dapple data-parallel --model mlp-tiny --stages 2 --microbatches 4 --steps 50 --output out/four

    chimera run chimera --model gpt-tiny --stages 2 --microbatches 4 --steps 500 --decay cosine --clip-norm 1 --checkpoint-every 100

    chimera run chimera --model gpt-tiny --stages 4 --microbatches 4 --compute paced --forward 20ms --backward 40ms
"""


class Compute(StrEnum):
    """Whether stages compute, or sleep for the given costs."""

    REAL = "real"
    PACED = "paced"


@grouped
def command(
    names: list[str] = typer.Argument(..., metavar="NAME...", help="Schedules' names, or one CSV or JSON file."),
    model: str = typer.Option(..., "--model", help="A shipped model's name."),
    stages: int | None = typer.Option(None, "--stages", help="Devices of the pipeline, D."),
    microbatches: int | None = typer.Option(None, "--microbatches", help="Micro-batches per iteration, N."),
    settings: list[str] = SETTINGS,
    microbatch_size: int = typer.Option(4, "--microbatch-size", help="Samples in a micro-batch, B."),
    width: int = typer.Option(1, "--width", help="Data-parallel copies of the pipeline, W."),
    steps: int | None = options.STEPS,
    seconds: str | None = options.SECONDS,
    optimizer: str = options.OPTIMIZER,
    learning_rate: float = options.LEARNING_RATE,
    momentum: float = options.MOMENTUM,
    decay: str = options.DECAY,
    rate_warmup: int = options.RATE_WARMUP,
    clip_norm: float | None = options.CLIP_NORM,
    precision: str = options.PRECISION,
    checkpoint_every: int = options.CHECKPOINT_EVERY,
    resume: bool = options.RESUME,
    compute: Compute = typer.Option(Compute.REAL, "--compute", help="real; paced is for more ranks than cores."),
    pace: costs.Costs = costs.Costs(),
    seed: int = options.SEED,
    deadline: str = typer.Option("5min", "--deadline", help="End a run in which no rank has moved for so long, with their last actions."),
    output: Path = typer.Option(Path("out/run"), "--output", help="Folder for timeline, losses and memory."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Runs one schedule, or several in turns."""
    from calibration.training import Training

    for flag, given, least in (
        ("--steps", steps, 1), ("--width", width, 1), ("--microbatch-size", microbatch_size, 1),
        ("--checkpoint-every", checkpoint_every, 0),
    ):  # fmt: skip
        if given is not None and given < least:
            raise InputError(f"{flag} {given}", f"is below {least}", f"give {least} or more")
    allowed_s, deadline_s = options.seconds(seconds), duration_ns("--deadline", deadline) / 1e9
    usable_folder(output)
    schedules = [select(name, stages, microbatches, settings) for name in dict.fromkeys(names)]
    if len({each.name for each in schedules}) < len(schedules):
        raise InputError(f"schedules {', '.join(names)}", "two have the same name", "name each of them once")
    paced = [_pace(compute, each, pace) for each in schedules]
    if compute is Compute.PACED and (len(schedules) > 1 or checkpoint_every or resume):
        what = "several schedules" if len(schedules) > 1 else "a checkpoint"
        raise InputError(f"{what} with paced compute", "where nothing is learnt", "give --compute real")
    training = Training(
        steps=10 if steps is None and allowed_s is None else steps, seconds=allowed_s, seed=seed, optimizer=optimizer,
        learning_rate=learning_rate, momentum=momentum, decay=decay, rate_warmup=rate_warmup, clip_norm=clip_norm,
        dtype=precision, checkpoint_every=checkpoint_every, resume=resume,
    )  # fmt: skip
    sizes = {"model": model, "microbatch_size": microbatch_size, "width": width, "deadline_s": deadline_s}
    _run(schedules, training, paced[0], output, sizes, as_json=as_json)


def _run(
    schedules: list[Schedule], training: Training, pace: Profile | None, output: Path, sizes: dict[str, Any], *, as_json: bool
) -> None:
    from calibration.run import run, run_several

    what = f"running {', '.join(item.name for item in schedules)} on {schedules[0].devices * sizes['width']} ranks"
    expected_s = training.seconds or 10 + 0.5 * (training.steps or 0) * len(schedules)
    with progress(what, expected_s) as advance:

        def on_step(elapsed: float, step: Step | None) -> None:
            advance(options.how_far(step, training.steps), elapsed)

        if len(schedules) == 1:
            done = run(schedules[0], training=training, pace=pace, output=output, on_step=on_step, **sizes)
        else:
            several = run_several(schedules, training, output=output, on_step=on_step, **sizes)
    if not is_leader():
        return
    if len(schedules) == 1:
        report_one(done, output, as_json=as_json)
    else:
        report_several(several, output, as_json=as_json)


def _pace(compute: Compute, schedule: Schedule, given: costs.Costs) -> Profile | None:
    """The costs that stages sleep for; None for real compute, which takes none."""
    if compute is Compute.PACED:
        return costs.per_chunk(costs.profile_from(given), schedule)[0]
    if text := costs.as_text(given):
        raise InputError(f"{text} with real compute", "what is computed takes its own time", "give --compute paced")
    return None
