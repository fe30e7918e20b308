"""`chimera validate`: calibrate, predict, run, compare."""

from __future__ import annotations

__all__ = ["HELP", "command"]

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chimera.cli.launching import checked
from chimera.cli.options.data import DATA, DATA_DIR, source_of
from chimera.cli.options.partition import PARTITION, partitions
from chimera.cli.options.selection import SETTINGS, select_several
from chimera.cli.reports.output import caption, note, print_fitting_table, print_json, some_time, usable_folder
from chimera.cli.reports.progress import progress
from chimera.executor.ranks.environment import is_leader
from chimera.pipeline.errors import InputError
from chimera.pipeline.grid import Grid
from chimera.pipeline.models import model_config
from chimera.pipeline.setting import Layout, Run, Setting, Work
from chimera.pipeline.units import format_bytes, format_ns

if TYPE_CHECKING:
    from chimera.calibration.judging.validation import Validation

HELP = """Close the loop: calibrate, predict, run for real, compare.

Without arguments: GPipe, DAPPLE and Chimera with a small GPT on two ranks of this machine's CPU.
Exit status 1 when a prediction is outside the tolerance, or the machine is too noisy to tell.

Examples:

    chimera validate

    chimera validate gpipe dapple chimera --model gpt-tiny --stages 2 --microbatches 8 --tolerance 4% --json

    chimera validate dapple chimera --stages 2 --microbatches 8 --set recompute=all

    chimera validate dapple chimera --stages 4 --microbatches 8 --width 2 --compute paced
"""
_START_UP_S = 25.0
_COLUMNS = (
    "schedule",
    "predicted",
    "measured [95 %]",
    "error",
    "bubble pred/meas",
    "points",
    "memory pred/meas",
    "memory error",
    "iterations",
)
_FIRST_TO_GO = ("iterations", "points", "memory pred/meas", "memory error", "bubble pred/meas")
"""where a terminal is too narrow for all"""


def command(
    names: list[str] | None = typer.Argument(
        None, help="Schedules, or CSV or JSON files; gpipe, dapple and chimera by default."
    ),
    model: str = typer.Option("gpt-tiny", "--model", help="A shipped model's name: see chimera models."),
    stages: int = typer.Option(2, "--stages", help="Devices of the pipeline, D."),
    microbatches: int = typer.Option(8, "--microbatches", help="Micro-batches per iteration, N."),
    settings: list[str] = SETTINGS,
    microbatch_size: int = typer.Option(4, "--microbatch-size", help="Samples in a micro-batch, B."),
    width: int = typer.Option(1, "--width", help="Data-parallel copies of the pipeline, W."),
    partition: Annotated[str | None, PARTITION] = None,
    data: Annotated[str, DATA] = "",
    data_dir: Annotated[str | None, DATA_DIR] = None,
    compute: str = typer.Option(
        "real", "--compute", metavar="real|paced", help="Compute, or sleep for its time: for more ranks than cores."
    ),
    profile: str | None = typer.Option(
        None, "--profile", help="The costs that paced stages sleep for; measured on this machine by default."
    ),
    budget: str = typer.Option(
        "60s", "--budget", help="Time for measuring, start-up aside: calibration and judged runs take turns."
    ),
    tolerance: str = typer.Option("5%", "--tolerance", help="Allowed error of the iteration time."),
    seed: int = typer.Option(0, "--seed", help="Seed of weights and data."),
    output: Path = typer.Option(Path("out/validate"), "--output", help="Folder for results and pictures."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> int:
    """Validates and says so."""
    from chimera.calibration.judging.validate import check_validation, validate
    from chimera.executor.jobs.memory import check_room_to_measure
    from chimera.simulator import load_profile

    allowed, budget_s = _ratio(tolerance), some_time("--budget", budget)
    chosen = names or ["gpipe", "dapple", "chimera"]
    pace, source = None if profile is None else load_profile(profile), source_of(data, data_dir)
    judged = select_several(chosen, stages, microbatches, settings)
    layout = Layout(Grid(stages, width), microbatch_size, microbatches, partitions(partition, judged, model=model))
    run = Run(data=source.name, data_dir=source.folder, seed=seed, compute=compute)
    setting = Setting(Work(model_config(model)), layout, run)
    schedules, _ = check_validation(judged, setting, budget_s=budget_s, pace=pace)
    checked()
    check_room_to_measure(setting, schedules)
    usable_folder(output)
    with progress(f"calibrating and running {', '.join(chosen)} in turns", _START_UP_S + 1.3 * budget_s) as advance:
        verdict = validate(
            judged, setting, output=output, tolerance=allowed, budget_s=budget_s, pace=pace, on_progress=advance
        )
    if not is_leader():  # rank 0 has the same verdict, and tells it
        return 0
    _report(verdict, output, as_json=as_json)
    compared = f"chimera compare --stages {stages} --microbatches {microbatches} --profile {output / 'profile.json'}"
    note(f"next: open {output / 'trace.json'} in Perfetto; {compared}")
    return 0 if verdict.passed and not verdict.too_noisy else 1


def _report(verdict: Validation, output: Path, *, as_json: bool) -> None:
    """The verdict in files and on stdout."""
    files = _write(verdict, output)
    if as_json:
        print_json(verdict.as_json())
    else:
        _print(verdict)
    for file in files:
        note(f"written: {file}")


def _ratio(text: str) -> float:
    """A tolerance such as `5%` as a ratio."""
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError as error:
        raise InputError(f"tolerance {text!r}", "is not a percentage", "write for example 5%") from error
    if not text.endswith("%") or value <= 0:
        raise InputError(f"tolerance {text!r}", "is not a positive percentage", "write for example 5%")
    return value


def _print(verdict: Validation) -> None:
    rows = []
    for case in verdict.cases:
        error, low, high = case.error, case.interval.low, case.interval.high
        rows.append(
            (
                case.schedule,
                format_ns(case.predicted.iteration_s * 1e9),
                f"{format_ns(case.measured.iteration_s * 1e9)} [{low * 1e3:.4g}, {high * 1e3:.4g}]",
                f"{error.iteration:+.1%}",
                f"{case.predicted.bubble_ratio:.1%} / {case.measured.bubble_ratio:.1%}",
                f"{error.bubble_ratio_points:+.1f}",
                f"{format_bytes(max(case.predicted.peak_memory_bytes))} / "
                f"{format_bytes(max(case.measured.peak_memory_bytes))}",
                f"{error.peak_memory:+.1%}",
                f"{case.iterations} (-{case.set_aside})",
            )
        )
    label = "" if verdict.compute == "real" else f" ({verdict.compute.upper()}: stages sleep, messages are real)"
    title = f"{verdict.model}: predicted against measured{label}, micro-batch of {verdict.microbatch_size}"
    if left_out := print_fitting_table(title, _COLUMNS, rows, _FIRST_TO_GO):
        note(f"this terminal is too narrow for {', '.join(left_out)}: --json has them")
    for case in verdict.cases:
        if (steady := case.error.steady_iteration) is not None:
            predicted, measured = (
                format_ns((side.steady_iteration_s or 0) * 1e9) for side in (case.predicted, case.measured)
            )
            print(
                f"{case.schedule} while its pipeline is full: "
                f"{predicted} an iteration, measured {measured} ({steady:+.1%})"
            )
    summary = verdict.summary
    print(
        f"mean error {summary.mean_abs_error_iteration:.1%}, worst {summary.worst_abs_error_iteration:.1%}; "
        f"repeat noise {verdict.repeat_noise:.1%}; drift {verdict.drift:+.1%}; "
        f"ranking {'agrees' if summary.ranking_agrees else 'DISAGREES'}; "
        f"gradients within {verdict.max_gradient_difference:.0e}"
    )
    inside, iterations = (
        sum(getattr(case, name) for case in verdict.cases) for name in ("inside_interval", "iterations")
    )
    print(f"{inside} of {iterations} measured iterations are inside the predicted 90 % intervals")
    print(verdict.verdict)


def _write(verdict: Validation, output: Path) -> list[Path]:
    """validation.json, profile.json, one trace with both timelines of every case, and the pictures."""
    from chimera.pipeline.files.atomic_file import write_text
    from chimera.pipeline.files.trace import save_trace
    from chimera.pipeline.timeline import Timeline
    from chimera.simulator import save_profile

    write_text(output / "validation.json", json.dumps(verdict.as_json(), indent=1))
    save_profile(verdict.profile, output / "profile.json")
    both: dict[str, Timeline] = {}
    for case in verdict.cases:
        both[f"{case.schedule} predicted"] = case.predicted_timeline
        both[f"{case.schedule} measured"] = case.measured_timeline
    save_trace(both, output / "trace.json")
    return [output / "validation.json", output / "profile.json", output / "trace.json", *_draw(verdict, output)]


def _draw(verdict: Validation, output: Path) -> list[Path]:
    from chimera.cli.pictures.gantt import draw_schedule
    from chimera.cli.pictures.memory import draw_memory
    from chimera.cli.pictures.overlay import draw_overlay
    from chimera.cli.pictures.scatter import draw_scatter

    below = caption(f"{verdict.machine['processor']}, {verdict.model}, gloo")
    files = [output / "scatter.png"]
    draw_scatter(verdict, files[0], caption=below)
    for case in verdict.cases:
        name = f"{case.schedule}, D={case.stages}, N={case.microbatches}"
        gantt, overlay, memory = (output / f"{case.schedule}-{kind}.png" for kind in ("schedule", "overlay", "memory"))
        draw_schedule(case.predicted_timeline, gantt, title=f"{name} (predicted)", caption=below)
        draw_overlay(case.predicted_timeline, case.measured_timeline, overlay, title=name, caption=below)
        timelines = {"predicted": case.predicted_timeline, "measured": case.measured_timeline}
        draw_memory(timelines, memory, caption=below)
        files += [gantt, overlay, memory]
    return files
