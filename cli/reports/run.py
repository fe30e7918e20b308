"""What `chimera run` shows of what it did: tables, pictures, and where the files are."""

from __future__ import annotations

__all__ = ["report_one", "report_several"]

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chimera.cli.reports.output import caption, note, percent, print_json, print_table
from chimera.pipeline.units import format_bytes, format_ns

if TYPE_CHECKING:
    from chimera.executor.training.run import RunResult

_MISSING = "-"


def report_one(done: RunResult, output: Path, *, as_json: bool) -> None:
    """One schedule: its figures, its timeline and its losses."""
    from chimera.cli.pictures.gantt import draw_schedule
    from chimera.cli.pictures.losses import draw_losses

    schedule, compute = done.schedule, done.as_json()["compute"]
    title = f"{schedule.name}, {schedule.devices} devices, {schedule.microbatches} micro-batches"
    below = caption(f"{done.machine['processor']}, {compute} compute")
    draw_schedule(done.typical, output / "timeline.png", title=title, caption=below)
    files = ["run.json", "timeline.json", "trace.json", "timeline.png"]
    if done.losses:
        draw_losses({schedule.name: done.losses}, output / "losses.png", title=f"Loss of {title}", caption=below)
        files += ["losses.csv", "losses.json", "losses.png"]
    if as_json:
        print_json(done.as_json())
    else:
        steps = len(done.iterations_ns)
        print_table(f"{title}, {compute} compute, measured over {steps} iterations", ("metric", "value"), _rows(done))
    _written(output, files)
    setting, layout = done.setting, done.setting.layout
    size = (
        f"--stages {schedule.devices} --microbatches {schedule.microbatches} --microbatch-size {layout.microbatch_size}"
    )
    width = f" --width {layout.grid.width}" if layout.grid.width > 1 else ""
    paced = " --compute paced" if compute == "paced" else ""
    what = f"{schedule.name} --model {setting.work.model.name} {size}{width}{paced}"
    note(f"next: chimera validate {what} --partition {setting.partition(schedule.stages)}")


def _rows(done: RunResult) -> list[tuple[str, str]]:
    metrics = done.metrics
    learnt = [("loss, first and last", f"{done.losses[0]:.4f}, {done.losses[-1]:.4f}")] if done.losses else []
    learnt += [("accuracy, held-out samples", percent(done.held_out[0]))] if done.held_out else []
    steady = done.steady_iteration_s
    return [
        ("iteration (median)", format_ns(metrics.iteration_ns)),
        *([] if steady is None else [("iteration while the pipeline is full (median)", format_ns(steady * 1e9))]),
        ("training time (all iterations)", f"{done.training_s:.3g} s"),
        ("bubble ratio (idle / devices x pipeline)", percent(metrics.bubble_ratio)),
        ("utilisation", percent(metrics.utilisation)),
        ("throughput", f"{metrics.throughput_samples_per_s or 0:.4g} samples/s"),
        *learnt,
        ("peak tensor memory per rank", ", ".join(format_bytes(size) for size in done.peak_memory_bytes)),
    ]


def report_several(runs: Mapping[str, RunResult], output: Path, *, as_json: bool) -> None:
    """Several schedules of one training: one table, one picture of timelines, one of losses."""
    from chimera.cli.pictures.comparison import draw_comparison
    from chimera.cli.pictures.losses import draw_losses

    first = next(iter(runs.values()))
    below = caption(f"{first.machine['processor']}, real compute")
    timelines = {name: each.typical for name, each in runs.items()}
    draw_comparison(timelines, output / "timelines.png", title="Measured timelines", caption=below)
    losses = {name: each.losses for name, each in runs.items()}
    draw_losses(losses, output / "losses.png", title="Loss of every step", caption=below)
    if as_json:
        print_json({"schema_version": 1, "cases": [each.as_json() for each in runs.values()]})
    else:
        columns = (
            "schedule",
            "final loss",
            "accuracy",
            "training time",
            "iteration",
            "samples/s",
            "utilisation",
            "bubble ratio",
            "peak memory",
        )
        schedule = first.schedule
        size = f"{schedule.devices} devices, {schedule.microbatches} micro-batches"
        title = f"{size}, {len(first.losses)} steps each, in turns"
        print_table(title, columns, [_row(name, each) for name, each in runs.items()])
    _written(
        output, ["runs.json", "losses.csv", "losses.json", "losses.png", "timelines.png", "trace.json", "timelines/"]
    )


def _row(name: str, done: RunResult) -> tuple[str, ...]:
    metrics = done.metrics
    return (
        name,
        f"{done.losses[-1]:.5f}",
        percent(done.held_out[0]) if done.held_out else _MISSING,
        f"{done.training_s:.3g} s",
        format_ns(metrics.iteration_ns),
        f"{metrics.throughput_samples_per_s or 0:.4g}",
        percent(metrics.utilisation),
        percent(metrics.bubble_ratio),
        format_bytes(max(done.peak_memory_bytes)),
    )


def _written(output: Path, files: list[str]) -> None:
    for file in files:
        note(f"written: {output / file}")
