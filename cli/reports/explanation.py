"""`chimera simulate --explain`: what limits a configuration, where two devices' time went, the critical path."""

from __future__ import annotations

__all__ = ["EXPLAIN", "explained", "print_explanation"]

from itertools import groupby
from typing import TYPE_CHECKING

import typer

from chimera.cli.reports.output import percent, print_table
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.units import format_ns

if TYPE_CHECKING:
    from chimera.simulator import Prediction
    from chimera.simulator.reasons.critical_path import Piece
    from chimera.simulator.reasons.explain import Explanation

EXPLAIN = typer.Option(False, "--explain", help="Say what limits it: lost time, two devices' time, the critical path.")
_LINES = 24
"""of the critical path; --json has all of it"""


def explained(prediction: Prediction, planned: Plan | Schedule, capacity_bytes: int | None = None) -> Explanation:
    """The explanation of a prediction that was made of `planned`."""
    from chimera.simulator.reasons.explain import explain_prediction

    return explain_prediction(prediction, planned, capacity_bytes)


def print_explanation(explanation: Explanation) -> None:
    """Three short tables."""
    total = explanation.iteration_ns or 1
    losses = explanation.losses._asdict()
    rows = [(name, format_ns(value), percent(value / total)) for name, value in losses.items() if value]
    print(f"Limited by {explanation.limit}: {explanation.evidence}")
    print_table("Lost time", ("iteration is the sum of", "time", "share"), rows)
    _print_devices(explanation, total)
    steps = [
        _step(list(pieces)) for _, pieces in groupby(explanation.path, key=lambda piece: (piece.kind, piece.device))
    ]
    if len(steps) > _LINES:
        left = len(steps) - _LINES
        middle = ("...", f"{left} more in --json", "", "", "")
        steps = [*steps[: _LINES // 2], middle, *steps[-_LINES // 2 :]]
    what = ", ".join(f"{kind} {percent(value / total)}" for kind, value in explanation.path_ns().items())
    print_table(f"Critical path: {what}", ("from", "what", "device", "time", "waited for"), steps)


def _print_devices(explanation: Explanation, total: int) -> None:
    busiest, idlest = (explanation.shares[device] for device in (explanation.busiest, explanation.idlest))
    rows = [
        (name.replace("_", " "), format_ns(first), percent(first / total), format_ns(second), percent(second / total))
        for (name, first), second in zip(busiest.named().items(), idlest.named().values(), strict=True)
        if first or second
    ]
    for device in sorted(busiest.waited_for.keys() | idlest.waited_for.keys()):
        first, second = busiest.waited_for[device], idlest.waited_for[device]
        if first or second:
            row = (f"  of the waits: device {device}", format_ns(first), percent(first / total))
            rows.append((*row, format_ns(second), percent(second / total)))
    columns = (
        "where the time went",
        f"busiest: device {busiest.device}",
        "share",
        f"idlest: device {idlest.device}",
        "share",
    )
    print_table("Devices' time", columns, rows)


def _step(pieces: list[Piece]) -> tuple[str, str, str, str, str]:
    """One line for adjacent pieces of one kind on one device."""
    first, last = pieces[0], pieces[-1]
    subject = first.subject if len(pieces) == 1 else f"{first.subject} .. {last.subject} ({len(pieces)})"
    spent = format_ns(last.end_ns - first.start_ns)
    return format_ns(first.start_ns), f"{first.kind} {subject}", str(first.device), spent, first.waited_for or "-"
