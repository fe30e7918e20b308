"""Cutting a model's layers into contiguous stages."""

from __future__ import annotations

__all__ = ["Partition"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import overload

from chimera.pipeline.errors import InputError
from chimera.pipeline.models import ModelConfig, layers
from chimera.pipeline.models.layout import layout_counts


@dataclass(frozen=True, slots=True)
class Partition(Sequence[int]):
    """How many layers each stage has, in order; as a sequence it is these counts. Every stage has at least one."""

    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.counts, default=0) < 1:
            raise InputError(f"partition {list(self.counts)}", "has a stage without a layer", _REMEDY)

    @classmethod
    def covering(cls, counts: Sequence[int], layer_count: int) -> Partition:
        """The partition of these counts; InputError unless they cover so many layers exactly."""
        partition = cls(tuple(counts))
        if partition.layers != layer_count:
            derived = f"covers {partition.layers} layers where the model has {layer_count}"
            raise InputError(f"partition {list(counts)}", derived, _REMEDY)
        return partition

    @classmethod
    def balanced(cls, costs: Sequence[int | float], stages: int) -> Partition:
        """The one that minimises the costliest stage.

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
        ends = _best_ends([0.0, *accumulate(map(float, costs))], stages)
        return cls(tuple(end - start for start, end in pairwise([0, *ends])))

    @classmethod
    def equal(cls, layer_count: int, stages: int) -> Partition:
        """The one whose counts differ by one at most; InputError when there are fewer layers than stages."""
        return cls.balanced([1] * layer_count, stages)

    @classmethod
    def default(cls, config: ModelConfig, stages: int) -> Partition:
        """The partition used wherever none is given: balanced by forward FLOPs.

        It depends on the model alone, so that a prediction and a run agree on it without talking.
        """
        return cls.balanced([layer.forward_flops for layer in layers(config)], stages)

    @classmethod
    def of_model(cls, config: ModelConfig, stages: int, counts: Sequence[int] | None = None) -> Partition:
        """A model's partition: of the given counts, else the default; InputError where they do not fit."""
        return cls.default(config, stages) if counts is None else cls.covering(counts, len(layers(config)))

    @classmethod
    def of(cls, text: str, costs: Sequence[int | float], stages: int) -> Partition:
        """What a text means for layers of these costs: `balanced`, `count`, counts (`3,2,2,3` or `3|2|2|3`),
        or Megatron's layout (`Et|tt|tL`: see `chimera.pipeline.models.layout`).

        Raises InputError for anything else, and for counts that do not fit.
        """
        if text == "balanced":
            return cls.balanced(costs, stages)
        if text == "count":
            return cls.equal(len(costs), stages)
        counts = _counts(text)
        if len(counts) != stages:
            derived = f"has {len(counts)} stages, the schedule {stages}"
            raise InputError(f"partition {text}", derived, "give one count per stage")
        return cls.covering(counts, len(costs))

    @property
    def stages(self) -> int:
        """How many stages there are."""
        return len(self.counts)

    @property
    def layers(self) -> int:
        """How many layers they have together."""
        return sum(self.counts)

    @property
    def ranges(self) -> tuple[range, ...]:
        """The numbers of each stage's layers."""
        return tuple(range(end - count, end) for count, end in zip(self.counts, accumulate(self.counts), strict=True))

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[int]:
        return iter(self.counts)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...
    def __getitem__(self, index: int | slice) -> int | tuple[int, ...]:
        return self.counts[index]

    def __str__(self) -> str:
        return ",".join(map(str, self.counts))

    def __repr__(self) -> str:
        return f"<Partition {self}>"


_REMEDY = "give one positive count per stage that add up to the model's layers"


def _counts(text: str) -> tuple[int, ...]:
    counts = layout_counts(text)
    if counts is not None:
        return counts
    try:
        return tuple(int(part) for part in text.replace("|", ",").split(","))
    except ValueError as error:
        remedy = "give balanced, count, or layers per stage such as 3,2,2,3"
        raise InputError(f"partition {text!r}", "is no list of numbers", remedy) from error


def _best_ends(prefix: Sequence[float], stages: int) -> list[int]:
    """Where each stage ends, for layers whose costs have these prefix sums."""
    count = len(prefix) - 1
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
    ends = [count]
    for k in range(stages, 1, -1):
        ends.append(cuts[k][ends[-1]])
    return ends[::-1]
