"""`chimera run`: run a schedule for real."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from enum import StrEnum
from pathlib import Path

import typer

from cli.output import caption, duration_ns, note, percent, print_json, print_table, usable_folder
from cli.progress import progress
from cli.selection import SETTINGS, select
from pipeline.errors import InputError
from pipeline.units import format_bytes, format_ns

HELP = """Run a schedule for real on torch.distributed: timeline, losses, memory.

Examples:

    chimera run chimera --model gpt-tiny --stages 2 --microbatches 8 --microbatch-size 4 --output out/run

    chimera run dapple --model gpt-tiny --stages 2 --microbatches 8 --microbatch-size 4 --steps 50 --output out/run
"""


class Compute(StrEnum):
    """Whether stages compute, or sleep for the calibrated time."""

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
    seed: int = typer.Option(0, "--seed", help="Seed of weights and data."),
    deadline: str = typer.Option("1h", "--deadline", help="End the run, with every rank's last action, after this."),
    output: Path = typer.Option(Path("out/run"), "--output", help="Folder for timeline, losses and memory."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Runs one schedule."""
    from calibration.run import run
    from cli.pictures.gantt import draw_schedule

    if compute is Compute.PACED:
        raise InputError("--compute paced", "is not wired to the command yet", "run with real compute on as many cores as ranks")
    if steps < 1 or width < 1 or microbatch_size < 1:
        raise InputError(f"--steps {steps} --width {width} --microbatch-size {microbatch_size}", "one is below 1", "give 1 or more")
    deadline_s = duration_ns("--deadline", deadline) / 1e9
    usable_folder(output)
    schedule = select(name, stages, microbatches, settings)
    with progress(f"running {schedule.name} on {schedule.devices * width} ranks", 10 + 0.5 * steps) as advance:
        done = run(
            schedule, model=model, microbatch_size=microbatch_size, width=width, steps=steps, seed=seed,
            output=output, deadline_s=deadline_s, on_elapsed=lambda elapsed: advance("", elapsed),
        )  # fmt: skip
    processor = str(done.machine["processor"])
    title = f"{schedule.name}, {schedule.devices} devices, {schedule.microbatches} micro-batches"
    draw_schedule(done.typical, output / "timeline.png", title=title, caption=caption(processor))
    metrics = done.metrics
    if as_json:
        print_json(done.as_json())
    else:
        rows = [
            ("iteration (median)", format_ns(metrics.iteration_ns)),
            ("bubble ratio (idle / devices x pipeline)", percent(metrics.bubble_ratio)),
            ("utilisation", percent(metrics.utilisation)),
            ("throughput", f"{metrics.throughput_samples_per_s or 0:.4g} samples/s"),
            ("loss, first and last", f"{done.losses[0]:.4f}, {done.losses[-1]:.4f}"),
            ("peak tensor memory per rank", ", ".join(format_bytes(size) for size in done.peak_memory_bytes)),
        ]
        print_table(f"{title}, measured over {steps} iterations", ("metric", "value"), rows)
    for file in ("run.json", "timeline.json", "trace.json", "timeline.png"):
        note(f"written: {output / file}")
    note("next: chimera validate predicts the same run and scores the prediction")
