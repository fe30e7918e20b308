"""`chimera simulate`: predict one configuration."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from chimera.cli.options.costs import Costs, as_text
from chimera.cli.options.grouped import grouped
from chimera.cli.options.network import NetworkOptions, network_key
from chimera.cli.options.prediction import Asked, PredictionOptions, Question, asked, check
from chimera.cli.options.selection import SETTINGS, select_plan
from chimera.cli.options.what_if import WhatIfOptions, capacity_bytes, memory_key, memory_note
from chimera.cli.reports.explanation import EXPLAIN, explained, print_explanation
from chimera.cli.reports.output import (
    caption,
    drawable,
    draws_into,
    note,
    percent,
    print_json,
    print_table,
    writable_file,
)
from chimera.pipeline.units import format_bytes, format_ns

if TYPE_CHECKING:
    from chimera.pipeline.schedule import Plan, Schedule
    from chimera.simulator import Prediction
    from chimera.simulator.costs.what_if import OutOfMemory

HELP = """Predict one configuration: iteration time, bubbles, throughput, memory.

Examples:

    chimera simulate chimera --stages 4 --microbatches 4 --forward 1ms --backward 2ms

    chimera simulate dapple --stages 2 --microbatches 8 --profile profile.json --samples 200

    chimera simulate order.csv --forward 1ms --backward 2ms --p2p 100us --trace trace.json
"""


@grouped
def command(
    name: str = typer.Argument(..., help="A schedule's name, or a CSV or JSON file."),
    stages: int | None = typer.Option(None, "--stages", help="Devices of the pipeline, D."),
    microbatches: int | None = typer.Option(None, "--microbatches", help="Micro-batches per iteration, N."),
    settings: list[str] = SETTINGS,
    costs: Costs = Costs(),
    network: NetworkOptions = NetworkOptions(),
    how: PredictionOptions = PredictionOptions(),
    changes: WhatIfOptions = WhatIfOptions(),
    trace: Path | None = typer.Option(None, "--trace", help="Write a Chrome trace (Perfetto opens it)."),
    plot: Path | None = typer.Option(None, "--plot", help="Draw the predicted timeline."),
    explain: bool = EXPLAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Predicts one schedule."""
    writable_file(trace)
    drawable(plot)
    check(how)
    size = capacity_bytes(changes.capacity)
    planned = select_plan(name, stages, microbatches, settings, how.width)
    prediction = _predicted(planned, asked(Question(costs, network, how, changes)))
    exceeds = None if size is None else _exceeded(prediction, size)
    explanation = explained(prediction, planned, size) if explain else None
    if as_json:
        found = {} if explanation is None else {"explain": explanation.as_json()}
        print_json({**prediction.as_json(), **network_key(prediction), **found, **memory_key(exceeds, size)})
    else:
        _print(prediction)
        memory_note(prediction, exceeds, size)
        if explanation is not None:
            print_explanation(explanation)
    _write_trace(prediction, trace)
    draws_into(plot, lambda path: _draw(prediction, path))
    if not as_json:
        shape = f"--stages {prediction.schedule.devices} --microbatches {prediction.schedule.microbatches}"
        note(f"next: chimera compare {shape} {as_text(costs)}")


def _predicted(planned: Schedule | Plan, question: Asked) -> Prediction:
    """The prediction, with all that was assumed about it."""
    from chimera.simulator import simulate

    prediction = simulate(planned, question.profile, question.conditions)
    return replace(prediction, assumptions=(*prediction.assumptions, *question.said))


def _exceeded(prediction: Prediction, capacity: int) -> OutOfMemory | None:
    from chimera.simulator.memory.capacity import exceeded

    return exceeded(prediction, capacity)


def _write_trace(prediction: Prediction, trace: Path | None) -> None:
    if trace is None:
        return

    from chimera.pipeline.files.trace import save_trace

    save_trace({"predicted": prediction.timeline}, trace)
    note(f"trace: {trace} (open it in Perfetto or chrome://tracing)")


def _print(prediction: Prediction) -> None:
    """Metrics, then one line a device, then what was assumed."""
    schedule = prediction.schedule
    shape = f"D={schedule.devices} N={schedule.microbatches} W={prediction.width}"
    title = f"{schedule.name} {shape}, predicted by {prediction.engine}"
    print_table(title, ("metric", "value"), _metrics(prediction))
    devices = [
        (
            str(device.device),
            format_ns(device.busy_ns),
            format_ns(device.idle_ns),
            f"{prediction.peak_activations[device.device]:g}",
            format_bytes(device.peak_memory_bytes) if device.peak_memory_bytes else "-",
            str(prediction.weights_copies[device.device]),
        )
        for device in prediction.metrics.per_device
    ]
    print_table("Devices", ("device", "busy", "idle", "peak activations", "peak memory", "weights held"), devices)
    for assumption in prediction.assumptions:
        note(f"assumed: {assumption}")


def _metrics(prediction: Prediction) -> list[tuple[str, str]]:
    metrics = prediction.metrics
    rows = [
        ("iteration", format_ns(metrics.iteration_ns)),
        ("pipeline (first compute to last)", format_ns(metrics.pipeline_ns)),
        ("ideal (busiest device's compute)", format_ns(metrics.ideal_ns)),
        ("no schedule can beat", format_ns(prediction.lower_bound_s * 1e9)),
        ("bubble ratio (idle / devices x pipeline)", percent(metrics.bubble_ratio)),
        ("bubble over ideal (Megatron)", percent(metrics.bubble_over_ideal)),
        ("bubble of the longest stage (Zero Bubble)", percent(metrics.bubble_longest_stage)),
        ("utilisation (compute / iteration)", percent(metrics.utilisation)),
    ]
    if metrics.throughput_samples_per_s is not None:
        rows.append(("throughput", f"{metrics.throughput_samples_per_s:.4g} samples/s"))
    if (steady := prediction.steady_state) is not None:
        rows.append(
            (
                "steady state: iteration, bubble ratio",
                f"{format_ns(steady.iteration_ns)}, {percent(steady.bubble_ratio)}",
            )
        )
        rows.append(("steady state: throughput", f"{steady.throughput_samples_per_s or 0:.4g} samples/s"))
    if prediction.interval_s is not None:
        low, middle, high = (format_ns(value * 1e9) for value in prediction.interval_s)
        rows.append(("iteration with jitter: 5 %, 50 %, 95 %", f"{low}, {middle}, {high}"))
    return rows


def _draw(prediction: Prediction, path: Path) -> None:
    from chimera.cli.pictures.gantt import draw_schedule

    schedule = prediction.schedule
    title = f"{schedule.name}, {schedule.devices} devices, {schedule.microbatches} micro-batches (predicted)"
    draw_schedule(prediction.timeline, path, title=title, caption=caption(f"profile {prediction.profile.name}"))
