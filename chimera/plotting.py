"""One picture of whatever the rooms give back: `plot(value)` in notebooks, `plot(value, "chimera.png")` in scripts."""

from __future__ import annotations

__all__ = ["plot"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chimera.calibration.judging.validation import Validation
    from chimera.simulator import Prediction

    Plottable = (
        Schedule
        | Plan
        | Timeline
        | Prediction
        | Validation
        | Mapping[str, Prediction | Timeline]
        | Sequence[Prediction]
    )

_REMEDY = "give a schedule, a timeline, a prediction, a validation, or several predictions"


def plot(value: Plottable, path: str | Path | None = None) -> Figure:
    """The value as a matplotlib figure, written to `path` (PNG, SVG or PDF) where one is given.

    A schedule is drawn with unit costs (a backward takes two forwards), a validation as predicted against
    measured, several predictions (or timelines by name) above one another on one time axis. matplotlib
    is loaded here and no earlier. Raises InputError for anything else, and for a suffix that is not known.
    """
    from chimera.cli.pictures.style import save

    figure = _figure(value)
    if path is not None:
        save(figure, path)
    return figure


def _figure(value: Any) -> Figure:
    from chimera.cli.pictures.gantt import schedule_figure
    from chimera.cli.reports.output import caption
    from chimera.simulator import Prediction, Profile, simulate

    if isinstance(value, Schedule | Plan):
        unit = simulate(value, Profile.uniform("1ms", "2ms"))
        return schedule_figure(unit.timeline, title=_title(unit), caption="unit costs: a backward takes two forwards")
    if isinstance(value, Timeline):
        title = f"{value.schedule}, {value.devices} devices ({value.source})"
        return schedule_figure(value, title=title, caption=caption(str(value.provenance.get("host", ""))))
    if isinstance(value, Prediction):
        below = caption(f"profile {value.profile.name}")
        return schedule_figure(value.timeline, title=_title(value), caption=below)
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        return _several(value)
    return _validation(value)


def _title(prediction: Prediction) -> str:
    schedule = prediction.schedule
    return f"{schedule.name}, {schedule.devices} devices, {schedule.microbatches} micro-batches (predicted)"


def _several(values: Mapping[str, Any] | Sequence[Any]) -> Figure:
    from chimera.cli.pictures.comparison import comparison_figure
    from chimera.cli.reports.output import caption
    from chimera.simulator import Prediction

    named = values if isinstance(values, Mapping) else dict(zip(_labels(values), values, strict=True))
    if not named:
        raise InputError("no predictions", "leave nothing to draw", _REMEDY)
    timelines = {name: value.timeline if isinstance(value, Prediction) else value for name, value in named.items()}
    wrong = [value for value in timelines.values() if not isinstance(value, Timeline)]
    if wrong:
        raise InputError(f"a {type(wrong[0]).__name__} among several", "has no timeline", _REMEDY)
    profiles = dict.fromkeys(value.profile.name for value in named.values() if isinstance(value, Prediction))
    below = caption(", ".join(f"profile {name}" for name in profiles))
    return comparison_figure(timelines, title="Timelines on one time axis", caption=below)


def _labels(values: Sequence[Any]) -> list[str]:
    """Schedules by name; by size and number too where that does not tell them apart."""
    from chimera.simulator import Prediction

    if not all(isinstance(value, Prediction) for value in values):
        wrong = next(value for value in values if not isinstance(value, Prediction))
        raise InputError(
            f"a {type(wrong).__name__} among several", "has no name", "give a mapping of names to timelines"
        )
    names = [value.schedule.name for value in values]
    if len(set(names)) == len(names):
        return names
    return [
        f"{number}: {value.schedule.name} D={value.schedule.devices}" for number, value in enumerate(values, start=1)
    ]


def _validation(value: Any) -> Figure:
    from chimera.calibration.judging.validation import Validation
    from chimera.cli.pictures.scatter import scatter_figure
    from chimera.cli.reports.output import caption

    if not isinstance(value, Validation):
        raise InputError(f"a {type(value).__name__}", "is nothing to draw", _REMEDY)
    if not value.cases:
        raise InputError("a validation without cases", "leaves nothing to draw", "validate one schedule at least")
    hardware = str(value.machine.get("processor", ""))
    return scatter_figure(value, caption=caption(", ".join(part for part in (hardware, value.model) if part)))
