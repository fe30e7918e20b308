"""What a stage's computations take inside a pipeline, and by how much their context changes that."""

from __future__ import annotations

__all__ = ["fit_contexts"]

from collections import defaultdict
from collections.abc import Collection, Mapping
from statistics import median
from typing import NamedTuple

from chimera.calibration.fitting.observations import Observations
from chimera.pipeline.actions import Kind
from chimera.pipeline.rules import Context
from chimera.simulator.costs.profile import Locality

_BACKWARDS = (Kind.B, Kind.I)
_WARM = 3
"""so many computations of its stage and kind before it in the iteration, and one is taken to be warm"""


class _Case(NamedTuple):
    """What is expected to take equally long; `turn` is that of `Observation`, at most `_WARM`."""

    run: int
    device: int
    stage: int
    kind: Kind
    context: Context
    split: bool
    turn: int
    recompute: bool


def fit_contexts(observations: Observations) -> tuple[Locality, dict[tuple[int, Kind], float]]:
    """The factors of contexts, and per (stage, kind) the time in nanoseconds without any of them.

    A factor is the median of the ratios of medians over all pairs of cases that differ in nothing
    else; without a pair it is 1. What was seen in a context is divided by its factors. Those of cold
    computations come first, from pairs of one device and run, then the others, over all devices and runs.
    Stages that recompute tell the factors of that, and nothing else.
    """
    times: dict[_Case, list[float]] = defaultdict(list)
    for seen in observations.actions:
        times[_Case(seen.run, seen.device, *seen[:4], min(seen.turn, _WARM), seen.recompute)].append(seen.duration_ns)
    cold = {Kind.F: _cold(times, (Kind.F,)), Kind.W: ()} | dict.fromkeys(_BACKWARDS, _cold(times, _BACKWARDS))
    warm: dict[_Case, list[float]] = defaultdict(list)
    for case, samples in times.items():
        factor = cold[case.kind][case.turn] if case.turn < len(cold[case.kind]) else 1.0
        warm[case._replace(run=0, device=0, turn=0)] += [time / factor for time in samples]
    medians = {case: median(samples) for case, samples in warm.items()}
    locality = Locality(
        forward_after_backward=_factor(medians, Kind.F, context="after-backward"),
        backward_after_own_forward=_factor(medians, Kind.B, context="own-forward"),
        weight_after_another=_factor(medians, Kind.W, context="after-another"),
        forward_for_split=_split_factor(medians),
        cold_forwards=cold[Kind.F],
        cold_backwards=cold[Kind.B],
        forward_for_recomputation=_ratio(medians, _recomputed(medians, (Kind.F,))),
        backward_with_recomputation=_repeating_factor(medians),
    )
    pooled: dict[tuple[int, Kind], list[float]] = defaultdict(list)
    for case, samples in warm.items():
        if not case.recompute:
            factor = _advantage(locality, case)
            pooled[case.stage, case.kind] += [time / factor for time in samples]
    return locality, {key: median(samples) for key, samples in pooled.items()}


def _cold(times: Mapping[_Case, list[float]], kinds: Collection[Kind]) -> tuple[float, ...]:
    """What the first computations of a kind take over warm ones; nothing where none is known to differ."""
    medians = {case: median(samples) for case, samples in times.items() if case.kind in kinds and not case.recompute}
    factors = tuple(
        _ratio(medians, {case: case._replace(turn=_WARM) for case in medians if case.turn == turn})
        for turn in range(_WARM)
    )
    return factors if any(factor != 1.0 for factor in factors) else ()


def _factor(medians: dict[_Case, float], kind: Kind, context: Context) -> float:
    return _ratio(
        medians,
        {
            case: case._replace(context="fresh")
            for case in medians
            if (case.kind, case.context) == (kind, context) and not case.recompute
        },
    )


def _split_factor(medians: dict[_Case, float]) -> float:
    return _ratio(medians, {case: case._replace(split=False) for case in medians if case.split and not case.recompute})


def _recomputed(medians: Mapping[_Case, float], kinds: Collection[Kind]) -> dict[_Case, _Case]:
    """Cases of stages that recompute, with those that differ in nothing else."""
    return {case: case._replace(recompute=False) for case in medians if case.recompute and case.kind in kinds}


def _repeating_factor(medians: Mapping[_Case, float]) -> float:
    """What a backward that repeats its forward takes over the two of them."""
    ratios = []
    for case, plain in _recomputed(medians, _BACKWARDS).items():
        forward = medians.get(plain._replace(kind=Kind.F, context="fresh"))
        if forward is not None and plain in medians:
            ratios.append(medians[case] / (medians[plain] + forward))
    return median(ratios) if ratios else 1.0


def _ratio(medians: dict[_Case, float], pairs: dict[_Case, _Case]) -> float:
    """The median of time over time of those pairs of which both were seen."""
    ratios = [medians[case] / medians[other] for case, other in pairs.items() if other in medians]
    return median(ratios) if ratios else 1.0


def _advantage(locality: Locality, case: _Case) -> float:
    return locality.factor(case.context) * (locality.forward_for_split if case.split else 1.0)
