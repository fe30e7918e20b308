"""`chimera run`: run a schedule for real."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli import costs
from cli.output import caption, duration_ns, note, percent, print_json, print_table, usable_folder
from cli.progress import progress
from cli.selection import SETTINGS, select
from pipeline.errors import InputError
from pipeline.schedule import Schedule
from pipeline.units import format_bytes, format_ns

if TYPE_CHECKING:
    from simulator import Profile

HELP = """Run a schedule for real on torch.distributed: timeline, losses, memory.

With --compute paced the stages sleep for the given costs instead of computing, while messages, order and the
memory of activations stay real: for more ranks than cores. Such a run is labelled so and has no losses.

Examples:

    chimera run chimera --model gpt-tiny --stages 2 --microbatches 8 --microbatch-size 4 --output out/run

    chimera run dapple --model gpt-tiny --stages 2 --microbatches 8 --microbatch-size 4 --steps 50 --output out/run

    chimera run chimera --model gpt-tiny --stages 4 --microbatches 4 --compute paced --forward 20ms --backward 40ms
"""
_Given = tuple[str | None, str | None, str | None, str | None, str | None]
"""--profile, --forward, --backward, --backward-input, --backward-weight"""


class Compute(StrEnum):
    """Whether stages compute, or sleep for the given costs."""

    REAL = "real"
    PACED = "paced"


def command(
    name: str = typer.Argument(..., help="A schedule's name, or a CSV or JSON file."),
    model: str = typer.Option(..., "--model", help="A shipped model's name."),
    stages: int | None = typer.Option(None, "--stages", help="Devices of the pipeline, D."),
    microbatches: int | None = typer.Option(None, "--microbatches", help="Micro-batches per iteration, N."),
    settings: list[str] = SETTINGS,
    microbatch_size: int = typer.Option(4, "--microbatch-size", help="Samples in a micro-batch, B."),
    width: int = typer.Option(1, "--width", help="Data-parallel copies of the pipeline, W."),
    steps: int = typer.Option(10, "--steps", help="Iterations to measure."),
    compute: Compute = typer.Option(Compute.REAL, "--compute", help="real; paced is for more ranks than cores."),
    profile: str | None = costs.PROFILE,
    forward: str | None = costs.FORWARD,
    backward: str | None = costs.BACKWARD,
    backward_input: str | None = costs.BACKWARD_INPUT,
    backward_weight: str | None = costs.BACKWARD_WEIGHT,
    seed: int = typer.Option(0, "--seed", help="Seed of weights and data."),
    deadline: str = typer.Option("1h", "--deadline", help="End the run, with every rank's last action, after this."),
    output: Path = typer.Option(Path("out/run"), "--output", help="Folder for timeline, losses and memory."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Runs one schedule."""
    from calibration.run import run
    from cli.pictures.gantt import draw_schedule

    if steps < 1 or width < 1 or microbatch_size < 1:
        raise InputError(f"--steps {steps} --width {width} --microbatch-size {microbatch_size}", "one is below 1", "give 1 or more")
    deadline_s = duration_ns("--deadline", deadline) / 1e9
    usable_folder(output)
    schedule = select(name, stages, microbatches, settings)
    pace = _pace(compute, schedule, (profile, forward, backward, backward_input, backward_weight))
    with progress(f"running {schedule.name} on {schedule.devices * width} ranks", 10 + 0.5 * steps) as advance:
        done = run(
            schedule, model=model, microbatch_size=microbatch_size, width=width, steps=steps, seed=seed, pace=pace,
            output=output, deadline_s=deadline_s, on_elapsed=lambda elapsed: advance("", elapsed),
        )  # fmt: skip
    title = f"{schedule.name}, {schedule.devices} devices, {schedule.microbatches} micro-batches"
    below = caption(f"{done.machine['processor']}, {compute.value} compute")
    draw_schedule(done.typical, output / "timeline.png", title=title, caption=below)
    metrics = done.metrics
    if as_json:
        print_json(done.as_json())
    else:
        rows = [
            ("iteration (median)", format_ns(metrics.iteration_ns)),
            ("bubble ratio (idle / devices x pipeline)", percent(metrics.bubble_ratio)),
            ("utilisation", percent(metrics.utilisation)),
            ("throughput", f"{metrics.throughput_samples_per_s or 0:.4g} samples/s"),
            *([("loss, first and last", f"{done.losses[0]:.4f}, {done.losses[-1]:.4f}")] if done.losses else []),
            ("peak tensor memory per rank", ", ".join(format_bytes(size) for size in done.peak_memory_bytes)),
        ]
        print_table(f"{title}, {compute.value} compute, measured over {steps} iterations", ("metric", "value"), rows)
    for file in ("run.json", "timeline.json", "trace.json", "timeline.png"):
        note(f"written: {output / file}")
    note("next: chimera validate predicts the same run and scores the prediction")


def _pace(compute: Compute, schedule: Schedule, given: _Given) -> Profile | None:
    """The costs that stages sleep for; None for real compute, which takes none."""
    if compute is Compute.PACED:
        return costs.per_chunk(costs.profile_from(*given, None), schedule)[0]
    if text := costs.as_text(*given, None):
        raise InputError(f"{text} with real compute", "what is computed takes its own time", "give --compute paced")
    return None
