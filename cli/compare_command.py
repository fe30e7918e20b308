"""`chimera compare`: several schedules side by side."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli import closed_form, costs
from cli.output import caption, drawable, draws_into, note, percent, print_json, print_table
from cli.selection import SETTINGS, parse_settings
from cli.simulate_command import Engine
from cli.what_if import CAPACITY, SLOW_DEVICE, capacity_bytes, memory_key, memory_note, slow_devices
from pipeline.errors import ChimeraError, InputError, UnknownNameError
from pipeline.schedule import Schedule
from pipeline.schedules import build, catalogue, entry
from pipeline.units import format_bytes, format_ns

if TYPE_CHECKING:
    from simulator import Prediction

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
    settings: list[str] = SETTINGS,
    profile: str | None = costs.PROFILE,
    forward: str | None = costs.FORWARD,
    backward: str | None = costs.BACKWARD,
    backward_input: str | None = costs.BACKWARD_INPUT,
    backward_weight: str | None = costs.BACKWARD_WEIGHT,
    p2p: str | None = costs.P2P,
    microbatch_size: int | None = typer.Option(None, "--microbatch-size", help="Samples in a micro-batch, B."),
    width: int = typer.Option(1, "--width", help="Data-parallel copies of the pipeline, W."),
    engine: Engine = typer.Option(Engine.SIMPY, "--engine", help="simpy (reference), compiled, or auto."),
    samples: int = typer.Option(0, "--samples", help="Draws from the profile's jitter, for intervals."),
    seed: int = typer.Option(0, "--seed", help="Seed of the draws."),
    slow_device: list[str] = SLOW_DEVICE,
    capacity: str | None = CAPACITY,
    plot: Path | None = typer.Option(None, "--plot", help="Draw all timelines in one picture."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Predicts and ranks."""
    drawable(plot)
    size = capacity_bytes(capacity)
    machine = costs.profile_from(profile, forward, backward, backward_input, backward_weight, p2p)
    schedules, refused = _schedules(names or [], stages, microbatches, settings)
    predictions = [
        costs.predict(
            schedule,
            machine,
            microbatch_size=microbatch_size,
            width=width,
            engine=engine.value,
            samples=samples,
            seed=seed,
            slow_devices=slow_devices(slow_device),
        )
        for schedule in schedules
    ]
    predictions.sort(key=lambda prediction: prediction.metrics.iteration_ns)
    if as_json:
        excluded = [{"schedule": name, "reason": reason} for name, reason in refused.items()]
        cases = [
            {**prediction.as_json(), **closed_form.keys(prediction), **memory_key(prediction, size)} for prediction in predictions
        ]
        print_json({"cases": cases, "excluded": excluded})
    else:
        _print(predictions, stages, microbatches)
        closed_form.explain_difference(predictions)
        for prediction in predictions:
            memory_note(prediction, size)
        for name, reason in refused.items():
            note(f"left out: {name}: {reason}")
    draws_into(plot, lambda path: _draw(predictions, path))
    if not as_json:
        best = predictions[0].schedule.name
        note(f"next: chimera schedule {best} --stages {stages} --microbatches {microbatches}")


def _schedules(
    names: list[str], stages: int, microbatches: int, settings: list[str]
) -> tuple[list[Schedule], dict[str, str]]:
    """The schedules, and why the others cannot be had; what was named must be possible.

    A setting reaches the schedules that have this option; at least one must.
    """
    chosen = [entry(name) for name in dict.fromkeys(names)] or [item for item in catalogue() if item.name != "custom"]
    keys = {key for item in chosen for key in item.options}
    for setting in settings:
        if (key := setting.partition("=")[0]) not in keys:
            raise UnknownNameError("option of these schedules", key, keys)
    schedules: list[Schedule] = []
    refused: dict[str, str] = {}
    for item in chosen:
        own = [setting for setting in settings if setting.partition("=")[0] in item.options]
        try:
            options = parse_settings(item.name, own)
            schedules.append(build(item.name, stages=stages, microbatches=microbatches, **options))
        except ChimeraError as error:
            if names:
                raise
            refused[item.name] = f"{error} ({error.remedy})" if error.remedy else str(error)
    if not schedules:
        raise InputError(f"D={stages}, N={microbatches}", "no schedule admits them", next(iter(refused.values()), ""))
    return schedules, refused


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
                closed_form.cell(prediction),
                percent(metrics.bubble_ratio),
                f"{metrics.iteration_ns / 1e9 / prediction.lower_bound_s:.3f}",
                f"{min(prediction.peak_activations):g}..{max(prediction.peak_activations):g}",
                format_bytes(max(peaks)) if any(peaks) else "-",
                str(max(prediction.weights_copies)),
                _throughput(prediction),
            )
        )
    columns = ("schedule", "iteration", "x best", "closed form", "bubble ratio", "x lower bound", "activations", "peak memory", "stages held", "samples/s")
    print_table(f"D={stages} N={microbatches}; bubble ratio = idle / (devices x pipeline)", columns, rows)


def _throughput(prediction: Prediction) -> str:
    """Samples per second; nothing where the size of a micro-batch means nothing to the costs."""
    known = None if prediction.profile.per_stage else prediction.metrics.throughput_samples_per_s
    return "-" if known is None else f"{known:.4g}"


def _draw(predictions: list[Prediction], path: Path) -> None:
    from cli.pictures.comparison import draw_comparison

    draw_comparison(
        {prediction.schedule.name: prediction.timeline for prediction in predictions},
        path,
        title="Predicted timelines, fastest first",
        caption=caption(f"profile {predictions[0].profile.name}"),
    )
