"""Cutting a model's layers into contiguous stages."""

from __future__ import annotations

__all__ = ["balanced", "by_count", "chosen", "cut", "default_partition", "explicit"]

from collections.abc import Sequence

from chimera.pipeline.errors import InputError
from chimera.pipeline.models import ModelConfig, layers


def default_partition(config: ModelConfig, stages: int) -> tuple[range, ...]:
    """The partition used wherever none is given: balanced by forward FLOPs.

    It depends on the model alone, so that a prediction and a run agree on it without talking.
    """
    return balanced([layer.forward_flops for layer in layers(config)], stages)


def cut(config: ModelConfig, stages: int, layers_per_stage: Sequence[int] | None = None) -> tuple[range, ...]:
    """The stages of a model: of the given numbers of layers, else the default partition; InputError where they do not fit."""
    if layers_per_stage is None:
        return default_partition(config, stages)
    return explicit(layers_per_stage, len(layers(config)))


def chosen(text: str, costs: Sequence[int | float], stages: int) -> tuple[range, ...]:
    """The partition that a text means for layers of these costs: `balanced`, `count`, or counts such as `3,2,2,3`.

    Raises InputError for anything else, and for counts that do not fit.
    """
    if text == "balanced":
        return balanced(costs, stages)
    if text == "count":
        return by_count(len(costs), stages)
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError as error:
        remedy = "give balanced, count, or layers per stage such as 3,2,2,3"
        raise InputError(f"partition {text!r}", "is no list of numbers", remedy) from error
    if len(counts) != stages:
        raise InputError(
            f"partition {text}", f"has {len(counts)} stages, the schedule {stages}", "give one count per stage"
        )
    return explicit(counts, len(costs))


def by_count(layer_count: int, stages: int) -> tuple[range, ...]:
    """Stages whose numbers of layers differ by one at most; InputError when there are fewer layers than stages."""
    return balanced([1] * layer_count, stages)


def explicit(counts: Sequence[int], layer_count: int) -> tuple[range, ...]:
    """Stages of the given numbers of layers; InputError unless they cover all layers exactly."""
    if sum(counts) != layer_count or min(counts, default=0) < 1:
        raise InputError(
            f"partition {list(counts)}",
            _misfit(counts, layer_count),
            "give one positive count per stage that add up to the model's layers",
        )
    ends = [sum(counts[: index + 1]) for index in range(len(counts))]
    return tuple(range(end - count, end) for count, end in zip(counts, ends, strict=True))


def _misfit(counts: Sequence[int], layer_count: int) -> str:
    if min(counts, default=0) < 1:
        return "has a stage without a layer"
    return f"covers {sum(counts)} layers where the model has {layer_count}"


def balanced(costs: Sequence[int | float], stages: int) -> tuple[range, ...]:
    """Contiguous ranges that minimise the costliest stage, each with at least one layer.

    Exact: dynamic programming over prefixes, O(layers^2 x stages). Ties go to the earliest cuts
    that keep later stages no costlier. Raises InputError when there are fewer layers than stages.
    """
    count = len(costs)
    if not 1 <= stages <= count:
        raise InputError(
            f"{stages} stages for {count} layers",
            "a stage needs at least one layer",
            f"use 1 to {count} stages or a deeper model",
        )
    prefix = [0.0]
    for cost in costs:
        prefix.append(prefix[-1] + cost)
    # best[k][i]: (worst stage, sum of squares) of the first i layers in k stages; squares break ties evenly
    infinity = (float("inf"), float("inf"))
    best = [[infinity] * (count + 1) for _ in range(stages + 1)]
    cuts = [[0] * (count + 1) for _ in range(stages + 1)]
    best[0][0] = (0.0, 0.0)
    for k in range(1, stages + 1):
        for i in range(k, count - (stages - k) + 1):
            for j in range(k - 1, i):
                worst, squares = best[k - 1][j]
                load = prefix[i] - prefix[j]
                candidate = (max(worst, load), squares + load * load)
                if candidate < best[k][i]:
                    best[k][i], cuts[k][i] = candidate, j
    ranges: list[range] = []
    end = count
    for k in range(stages, 0, -1):
        ranges.append(range(cuts[k][end], end))
        end = cuts[k][end]
    return tuple(reversed(ranges))
