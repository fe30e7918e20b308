"""`chimera compare`: several schedules side by side."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli import costs
from cli.output import caption, draws_into, note, percent, print_json, print_table, writable_file
from pipeline.errors import ChimeraError, InputError
from pipeline.schedules import build, catalogue
from pipeline.units import format_bytes, format_ns

if TYPE_CHECKING:
    from simulator import Prediction, Profile

HELP = """Predict several schedules and show them side by side, fastest first.

Without names: all that admit the given D and N; the others are listed with the reason.

Examples:

    chimera compare --stages 4 --microbatches 8 --forward 1ms --backward 2ms

    chimera compare gpipe dapple chimera --stages 8 --microbatches 8 --profile profile.json --plot compare.png
"""


def command(
    names: list[str] | None = typer.Argument(None, help="Schedules; all that fit by default."),
    stages: int = typer.Option(..., "--stages", help="Devices of the pipeline, D."),
    microbatches: int = typer.Option(..., "--microbatches", help="Micro-batches per iteration, N."),
    profile: str | None = costs.PROFILE,
    forward: str | None = costs.FORWARD,
    backward: str | None = costs.BACKWARD,
    backward_input: str | None = costs.BACKWARD_INPUT,
    backward_weight: str | None = costs.BACKWARD_WEIGHT,
    p2p: str | None = costs.P2P,
    microbatch_size: int | None = typer.Option(None, "--microbatch-size", help="Samples in a micro-batch, B."),
    width: int = typer.Option(1, "--width", help="Data-parallel copies of the pipeline, W."),
    samples: int = typer.Option(0, "--samples", help="Draws from the profile's jitter, for intervals."),
    seed: int = typer.Option(0, "--seed", help="Seed of the draws."),
    plot: Path | None = typer.Option(None, "--plot", help="Draw all timelines in one picture."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Predicts and ranks."""
    writable_file(plot)
    machine = costs.profile_from(profile, forward, backward, backward_input, backward_weight, p2p)
    options = {"microbatch_size": microbatch_size, "width": width, "samples": samples, "seed": seed}
    predictions, refused = _predict(names or [], stages, microbatches, machine, options)
    predictions.sort(key=lambda prediction: prediction.metrics.iteration_ns)
    if as_json:
        excluded = [{"schedule": name, "reason": reason} for name, reason in refused.items()]
        print_json({"cases": [prediction.as_json() for prediction in predictions], "excluded": excluded})
    else:
        _print(predictions, stages, microbatches)
        for name, reason in refused.items():
            note(f"left out: {name}: {reason}")
    draws_into(plot, lambda path: _draw(predictions, path))
    if not as_json and predictions:
        best = predictions[0].schedule.name
        note(f"next: chimera schedule {best} --stages {stages} --microbatches {microbatches}")


def _predict(
    names: list[str], stages: int, microbatches: int, profile: Profile, options: dict[str, int | None]
) -> tuple[list[Prediction], dict[str, str]]:
    """Predictions, and why the others cannot be had; what was named must be possible."""
    from simulator import simulate

    predictions: list[Prediction] = []
    refused: dict[str, str] = {}
    for name in names or [entry.name for entry in catalogue() if entry.name != "custom"]:
        try:
            schedule = build(name, stages=stages, microbatches=microbatches)
            predictions.append(simulate(schedule, costs.per_chunk(profile, schedule), **options))  # type: ignore[arg-type]
        except ChimeraError as error:
            if names:
                raise
            refused[name] = f"{error} ({error.remedy})"
    if not predictions:
        raise InputError(f"D={stages}, N={microbatches}", "no schedule admits them", next(iter(refused.values()), ""))
    return predictions, refused


def _print(predictions: list[Prediction], stages: int, microbatches: int) -> None:
    best = predictions[0].metrics.iteration_ns
    rows = []
    for prediction in predictions:
        metrics = prediction.metrics
        peaks = [device.peak_memory_bytes or 0 for device in metrics.per_device]
        rows.append(
            (
                prediction.schedule.name,
                format_ns(metrics.iteration_ns),
                f"{metrics.iteration_ns / best:.3f}",
                percent(metrics.bubble_ratio),
                f"{metrics.iteration_ns / 1e9 / prediction.lower_bound_s:.3f}",
                f"{min(prediction.peak_activations):g}..{max(prediction.peak_activations):g}",
                format_bytes(max(peaks)) if any(peaks) else "-",
                str(max(prediction.weights_copies)),
            )
        )
    columns = ("schedule", "iteration", "x best", "bubble ratio", "x lower bound", "activations", "peak memory", "stages held")
    print_table(f"D={stages} N={microbatches}; bubble ratio = idle / (devices x pipeline)", columns, rows)


def _draw(predictions: list[Prediction], path: Path) -> None:
    from cli.pictures.comparison import draw_comparison

    draw_comparison(
        {prediction.schedule.name: prediction.timeline for prediction in predictions},
        path,
        title="Predicted timelines, fastest first",
        caption=caption(f"profile {predictions[0].profile.name}"),
    )
