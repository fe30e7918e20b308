"""Which iterations of a session count: those that nothing outside disturbed, by a rule fixed beforehand."""

from __future__ import annotations

__all__ = ["Kept", "keep_undisturbed"]

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chimera.calibration.judging.statistics import find_disturbed, find_disturbed_rounds
from chimera.executor.jobs.results import timelines
from chimera.pipeline.errors import InputError
from chimera.pipeline.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Kept:
    """The undisturbed iterations of one case, the round of each, and how many were set aside."""

    timelines: tuple[Timeline, ...]
    rounds: tuple[int, ...]
    set_aside: int


def keep_undisturbed(
    results: Sequence[Mapping[str, Any]], labels: Collection[str], calibration: Collection[str]
) -> dict[str, Kept]:
    """What `judging.statistics.DISTURBANCE_RULE` leaves of each case; `results[rank]` as `run_job` returned.

    No case has a say in which of its own rounds count, calibration runs neither: chosen by their own
    duration they would lack the slow iterations that judged runs have. Raises InputError where nothing is left.
    """
    measured = {label: timelines(results, label) for label in labels}
    numbers = {label: [record["round"] for record in results[0]["cases"][label]] for label in labels}
    kept = {}
    for label in labels:
        noisy = find_disturbed_rounds(
            _round_durations([each for each in calibration if each != label], measured, numbers)
        )
        steal = _steal(results, label, measured[label])
        single = find_disturbed([float(t.end_ns) for t in measured[label]], steal)
        flags = [bad or number in noisy for bad, number in zip(single, numbers[label], strict=True)]
        if all(flags):
            derived = "nothing is left to judge"
            raise InputError(
                f"all {len(flags)} iterations of {label} were disturbed", derived, "free the machine and repeat"
            )
        kept[label] = Kept(
            tuple(t for t, bad in zip(measured[label], flags, strict=True) if not bad),
            tuple(n for n, bad in zip(numbers[label], flags, strict=True) if not bad),
            sum(flags),
        )
    return kept


def _round_durations(
    calibration: Collection[str], measured: Mapping[str, Sequence[Timeline]], numbers: Mapping[str, Sequence[int]]
) -> dict[int, float]:
    """Time of the calibration runs by round."""
    durations: dict[int, float] = {}
    for label in calibration:
        for number, timeline in zip(numbers[label], measured[label], strict=True):
            durations[number] = durations.get(number, 0.0) + timeline.end_ns
    return durations


def _steal(results: Sequence[Mapping[str, Any]], label: str, measured: Sequence[Timeline]) -> list[float]:
    """Steal time as a share of an iteration's duration and of the machine's cores."""
    cores = max(len(results), 1)
    records = results[0]["cases"][label]
    return [record["steal_ns"] / (t.end_ns * cores) for record, t in zip(records, measured, strict=True)]
