"""The paper's closed form beside the predictions of `chimera compare`."""

from __future__ import annotations

__all__ = ["cell", "explain_difference", "keys"]

from typing import TYPE_CHECKING, Any

from cli.reports.output import note
from pipeline.units import format_ns

if TYPE_CHECKING:
    from simulator import Prediction

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
    """A note on what the formula assumes, if any row differs by more than half a percent."""
    values = [(prediction, _value(prediction)[0]) for prediction in predictions]
    if any(abs(_difference(prediction, seconds)) > _NOTABLE for prediction, seconds in values if seconds is not None):
        note(
            "closed form (Chimera paper, section 3.4) differs: it assumes equal stages, a message behind every action "
            "of the critical path, all-reduces hidden by bubbles only, and neither host time nor optimizer"
        )


def _difference(prediction: Prediction, seconds: float) -> float:
    simulated = prediction.metrics.iteration_ns / 1e9
    return seconds / simulated - 1 if simulated else 0.0


def _value(prediction: Prediction) -> tuple[float | None, str]:
    from simulator.reasons.closed_form import Undefined, closed_form

    if prediction.slow_devices:
        return None, "it knows no slow devices"
    if prediction.partition is not None:
        return None, "it assumes stages cut by default, not by --partition"
    found = closed_form(
        prediction.schedule, prediction.profile, microbatch_size=prediction.microbatch_size, width=prediction.width
    )
    return (None, found.reason) if isinstance(found, Undefined) else (found.total_ns / 1e9, "")
