"""The paper's closed form beside the predictions of `chimera compare`."""

from __future__ import annotations

__all__ = ["cell", "explain_difference", "keys"]

from typing import TYPE_CHECKING, Any

from chimera.cli.reports.output import note
from chimera.pipeline.units import format_ns

if TYPE_CHECKING:
    from chimera.simulator import Prediction

_NOTABLE = 0.005


def keys(prediction: Prediction) -> dict[str, Any]:
    """`closed_form_s`, and where that is null the reason."""
    seconds, reason = _value(prediction)
    return {"closed_form_s": seconds} if seconds is not None else {"closed_form_s": None, "closed_form_reason": reason}


def cell(prediction: Prediction) -> str:
    """The formula's time and its difference to the simulated iteration."""
    seconds, _ = _value(prediction)
    if seconds is None:
        return "-"
    return f"{format_ns(seconds * 1e9)} ({_difference(prediction, seconds):+.1%})"


def explain_difference(predictions: list[Prediction]) -> None:
    """A note on what the formula leaves out of the rows that differ by more than half a percent."""
    from chimera.simulator.reasons.closed_form import differences

    left_out: dict[str, None] = {}
    for prediction in predictions:
        seconds, _ = _value(prediction)
        if seconds is not None and abs(_difference(prediction, seconds)) > _NOTABLE:
            left_out |= dict.fromkeys(differences(prediction.schedule, prediction.profile, prediction.conditions))
    if left_out:
        note(f"closed form (Chimera paper, section 3.4) differs: it leaves out {', '.join(left_out)}")


def _difference(prediction: Prediction, seconds: float) -> float:
    simulated = prediction.metrics.iteration_ns / 1e9
    return seconds / simulated - 1 if simulated else 0.0


def _value(prediction: Prediction) -> tuple[float | None, str]:
    from chimera.simulator.reasons.closed_form import Undefined, closed_form

    value = closed_form(prediction.schedule, prediction.profile, prediction.conditions)
    return (None, value.reason) if isinstance(value, Undefined) else (value.total_ns / 1e9, "")
