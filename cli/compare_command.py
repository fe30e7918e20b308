"""`chimera compare`: several schedules side by side."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from chimera.cli.options.candidates import candidates, depths
from chimera.cli.options.costs import Costs
from chimera.cli.options.grouped import grouped
from chimera.cli.options.network import NetworkOptions, network_key
from chimera.cli.options.prediction import PredictionOptions, Question, predict
from chimera.cli.options.selection import SETTINGS
from chimera.cli.options.what_if import WhatIfOptions, capacity_bytes, memory_key, memory_note
from chimera.cli.reports import closed_form
from chimera.cli.reports.comparison import beats_key, draw, print_comparison
from chimera.cli.reports.output import drawable, draws_into, note, print_json

if TYPE_CHECKING:
    from chimera.cli.options.candidates import LeftOut
    from chimera.simulator import Prediction

HELP = """Predict several schedules and show them side by side, fastest first.

Without names: all that admit the given D and N; the others are listed with the reason.

Examples:

    chimera compare --stages 4 --microbatches 8 --forward 1ms --backward 2ms

    chimera compare gpipe dapple chimera --stages 8 --microbatches 8 --profile profile.json --plot compare.png

    chimera compare dapple chimera --stages 4,8,16 --microbatches 16 --profile profile.json
"""


@grouped
def command(
    names: list[str] | None = typer.Argument(None, help="Schedules; all that fit by default."),
    stages: str = typer.Option(
        ..., "--stages", metavar="D[,D...]", help="Devices of the pipeline, or several such numbers."
    ),
    microbatches: int = typer.Option(..., "--microbatches", help="Micro-batches per iteration, N."),
    settings: list[str] = SETTINGS,
    costs: Costs = Costs(),
    network: NetworkOptions = NetworkOptions(),
    how: PredictionOptions = PredictionOptions(),
    changes: WhatIfOptions = WhatIfOptions(),
    plot: Path | None = typer.Option(None, "--plot", help="Draw all timelines in one picture."),
    as_json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Predicts and ranks."""
    drawable(plot)
    size = capacity_bytes(changes.capacity)
    schedules, left_out = candidates(names or [], depths(stages), microbatches, settings)
    predictions = predict(schedules, Question(costs, network, how, changes))
    predictions.sort(key=lambda prediction: prediction.metrics.iteration_ns)
    if as_json:
        print_json(_document(predictions, left_out, size))
    else:
        print_comparison(predictions)
        closed_form.explain_difference(predictions)
        for prediction in predictions:
            memory_note(prediction, size)
        for item in left_out:
            note(f"left out: {item}")
        for assumption in predictions[0].assumptions:
            if all(assumption in prediction.assumptions for prediction in predictions):
                note(f"assumed: {assumption}")
    draws_into(plot, lambda path: draw(predictions, path))
    if not as_json:
        best = predictions[0].schedule
        note(f"next: chimera schedule {best.name} --stages {best.devices} --microbatches {microbatches}")


def _document(predictions: list[Prediction], left_out: list[LeftOut], capacity: int | None) -> dict[str, object]:
    cases = [
        {
            **prediction.as_json(),
            **network_key(prediction),
            **closed_form.keys(prediction),
            **memory_key(prediction, capacity),
        }
        for prediction in predictions
    ]
    return {"cases": cases, **beats_key(predictions), "excluded": [item._asdict() for item in left_out]}
