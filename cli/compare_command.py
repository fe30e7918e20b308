"""`chimera compare`: several schedules side by side."""

from __future__ import annotations

__all__ = ["HELP", "command"]

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from chimera.cli.options.costs import Costs
from chimera.cli.options.grouped import grouped
from chimera.cli.options.network import NetworkOptions, network_key
from chimera.cli.options.prediction import Asked, PredictionOptions, Question, asked
from chimera.cli.options.selection import SETTINGS, check_settings, parse_depths, parse_settings, settings_of
from chimera.cli.options.what_if import WhatIfOptions, capacity_bytes, memory_key, memory_note
from chimera.cli.reports import closed_form
from chimera.cli.reports.comparison import draw, print_comparison
from chimera.cli.reports.output import drawable, draws_into, note, print_json
from chimera.cli.reports.progress import counted
from chimera.pipeline.units import format_ns

if TYPE_CHECKING:
    from chimera.pipeline.schedule import Option
    from chimera.pipeline.schedules import Entry
    from chimera.simulator import Prediction
    from chimera.simulator.predicting.comparison import Comparison
    from chimera.simulator.predicting.competitors import Competitors

_SILENT_S = 2.0
"""seconds of estimated work that pass without a word"""

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
    size, depths = capacity_bytes(changes.capacity), parse_depths(stages)
    check_settings(names or [], settings)
    found = _competitors(names or [], depths, microbatches, settings)
    comparison = _compared(found, asked(Question(costs, network, how, changes)))
    if as_json:
        print_json(_document(comparison, size))
    else:
        _print(comparison, size)
    draws_into(plot, lambda path: draw(comparison, path))
    if not as_json:
        best = comparison.best.schedule
        note(f"next: chimera schedule {best.name} --stages {best.devices} --microbatches {microbatches}")


def _competitors(names: list[str], depths: list[int], microbatches: int, settings: list[str]) -> Competitors:
    from chimera.simulator.predicting.competitors import competitors

    def _options(item: Entry) -> dict[str, Option]:
        return parse_settings(item.name, settings_of(item.name, settings))

    return competitors(names, depths, microbatches, _options)


def _compared(found: Competitors, question: Asked) -> Comparison:
    """The comparison, with all that was assumed; while it takes long, each row is named as it comes."""
    from chimera.simulator.predicting.compare import compare, estimated_s

    work = sum(estimated_s(schedule, question.conditions) for schedule in found.schedules)
    if work < _SILENT_S:
        comparison = compare(found, question.profile, question.conditions)
    else:
        with counted(f"predicting {len(found.schedules)} schedules", len(found.schedules)) as came:
            comparison = compare(found, question.profile, question.conditions, on_row=lambda _, row: came(_line(row)))
    return comparison.assuming(*question.said)


def _line(prediction: Prediction) -> str:
    return f"{prediction.schedule.name} D={prediction.schedule.devices} {format_ns(prediction.metrics.iteration_ns)}"


def _print(comparison: Comparison, size: int | None) -> None:
    predictions = list(comparison.ranking)
    print_comparison(comparison)
    closed_form.explain_difference(predictions)
    for place in comparison.places:
        memory_note(comparison[place], comparison.exceeds(place), size)
    for item in comparison.left_out:
        note(f"left out: {item}")
    for assumption in predictions[0].assumptions:
        if all(assumption in prediction.assumptions for prediction in predictions):
            note(f"assumed: {assumption}")


def _document(comparison: Comparison, capacity: int | None) -> dict[str, object]:
    cases = [
        {
            **comparison[place].as_json(),
            **network_key(comparison[place]),
            **closed_form.keys(comparison[place]),
            **memory_key(comparison.exceeds(place), capacity),
        }
        for place in comparison.places
    ]
    drawn = {} if comparison.best.draws_ns is None else {"beats": comparison.chances()}
    return {"cases": cases, **drawn, "excluded": [item._asdict() for item in comparison.left_out]}
