"""Whether a schedule changes the mathematics: its gradients against a single-process reference."""

from __future__ import annotations

__all__ = ["gradient_difference"]

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.ranks.launch import launch
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import ModelConfig, config_dict
from chimera.pipeline.models.family import family_of
from chimera.pipeline.schedule import Schedule

_DEADLINE_S = 300.0


def gradient_difference(
    config: ModelConfig,
    schedules: Mapping[str, Schedule],
    *,
    output: Path,
    seed: int,
    width: int = 1,
    partitions: Mapping[int, tuple[int, ...]] = MappingProxyType({}),
) -> float:
    """The largest absolute difference of any gradient after one real step, in float64.

    The model is the given one with narrow layers (same depth, same kinds), since the reference
    holds it whole; one sample a micro-batch. `partitions` are layers per stage of schedules of so many stages.
    """
    job = Job(
        model=config_dict(family_of(config).narrow(config)),
        cases=tuple(
            Case(name, schedule_json(item), 1, width, partitions.get(item.stages)) for name, item in schedules.items()
        ),
        seed=seed,
        optimizer="sgd",
        learning_rate=1.0,
        dtype="float64",
    )
    ranks = max(item.devices for item in schedules.values()) * width
    results = launch(
        "chimera.executor.verification.difference:difference",
        job.payload(),
        ranks=ranks,
        output=output,
        deadline_s=_DEADLINE_S,
    )
    return max(float(value) for result in results for value in result.values())
