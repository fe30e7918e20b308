"""`chimera calibrate`: short real runs on this machine become profile.json."""

from __future__ import annotations

__all__ = ["HELP", "command"]

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chimera.cli.launching import checked
from chimera.cli.options.data import DATA, DATA_DIR, source_of
from chimera.cli.reports.output import note, print_json, print_table, some_time, usable_folder, writable_file
from chimera.cli.reports.progress import progress
from chimera.executor.ranks.environment import is_leader
from chimera.pipeline.errors import InputError
from chimera.pipeline.grid import Grid
from chimera.pipeline.models import model_config
from chimera.pipeline.setting import Layout, Run, Setting, Work
from chimera.pipeline.units import format_bytes, format_ns

if TYPE_CHECKING:
    from chimera.simulator import Profile

HELP = """Measure this machine: layers, messages, all-reduces, optimizer, memory -> a cost profile.

Examples:

    chimera calibrate --model gpt-tiny --stages 2 --microbatch-size 4 --output out/profile.json

    chimera calibrate --model gpt-tiny --stages 2 --microbatch-size 4 --budget 60s --output out/profile.json
"""


def command(
    model: str = typer.Option(..., "--model", help="A shipped model's name: see chimera models."),
    stages: int = typer.Option(..., "--stages", help="Devices of the pipeline, D: as many ranks are started."),
    microbatch_size: int = typer.Option(..., "--microbatch-size", help="Samples in a micro-batch, B."),
    data: Annotated[str, DATA] = "",
    data_dir: Annotated[str | None, DATA_DIR] = None,
    device: str = typer.Option("cpu", "--device", help="cpu; cuda needs GPUs."),
    budget: str = typer.Option("20s", "--budget", help="Time to measure, start-up aside."),
    output: Path = typer.Option(Path("out/profile.json"), "--output", help="The profile's file."),
    seed: int = typer.Option(0, "--seed", help="Seed of weights and data."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Calibrates and saves."""
    from chimera.calibration.measuring.calibrate import calibrate, check_calibration
    from chimera.calibration.measuring.short_runs import calibration_schedules
    from chimera.executor.jobs.memory import check_room_to_measure

    budget_s = some_time("--budget", budget)
    source = source_of(data, data_dir)
    layout = Layout(Grid(stages), microbatch_size)
    run = Run(data=source.name, data_dir=source.folder, seed=seed, device=device)
    setting = Setting(Work(model_config(model)), layout, run)
    check_calibration(setting, budget_s)
    checked()
    check_room_to_measure(setting, calibration_schedules(stages))
    writable_file(output)
    folder = usable_folder(output.parent / f"{output.stem}-ranks")
    unused = not folder.exists()
    try:
        with progress(f"calibrating {model} on {stages} ranks", budget_s) as advance:
            profile = calibrate(setting, budget_s=budget_s, output=folder, on_progress=advance)
    except (InputError, KeyboardInterrupt):  # where a rank fails the folder stays: the error points into it
        if unused and is_leader():  # an older folder may be that of a calibration that is under way
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if not is_leader():
        return
    shutil.rmtree(folder)
    from chimera.simulator import save_profile

    save_profile(profile, output)
    if as_json:
        import json

        print_json(json.loads(output.read_text()))
    else:
        _print(profile, f"{model}, micro-batch of {microbatch_size}")
    note(f"profile: {output}")
    note(f"next: chimera compare --stages {stages} --microbatches {4 * stages} --profile {output}")


def _print(profile: Profile, title: str) -> None:
    rows = [
        (
            f"{layer.name}",
            format_ns(cost.forward_ns),
            format_ns(cost.backward_ns or 0),
            format_bytes(cost.activation_bytes),
        )
        for layer in profile.layers
        for cost in layer.costs
    ]
    print_table(title, ("layer", "forward", "backward", "activations"), rows)
    link = profile.links["local"]
    print(
        f"message {format_ns(link.latency_ns)} + {link.bandwidth_text}; "
        f"dispatch {format_ns(profile.overheads.dispatch_ns)}"
    )
