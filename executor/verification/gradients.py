"""Whether a schedule changes the mathematics: its gradients against a single-process reference."""

from __future__ import annotations

__all__ = ["gradient_difference"]

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from chimera.executor.jobs.cases import job_of
from chimera.executor.ranks.launch import launch
from chimera.pipeline.models.family import family_of
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.setting import Optimizer, Run, Setting, Work

_DEADLINE_S = 300.0


def gradient_difference(setting: Setting, schedules: Mapping[str, Schedule], *, output: Path) -> float:
    """The largest absolute difference of any gradient after one real step of SGD, in float64.

    The model is the setting's with narrow layers (same depth, same kinds), since the reference
    holds it whole; one sample a micro-batch, of the data that its family takes by default.
    """
    model = setting.work.model
    alike = Setting(
        Work(family_of(model).narrow(model), "float64", Optimizer("sgd", learning_rate=1.0)),
        replace(setting.layout.over(schedules.values()), microbatch_size=1),
        Run(seed=setting.run.seed),
    )
    results = launch(
        "chimera.executor.verification.difference:difference",
        job_of(alike, schedules).payload(),
        ranks=alike.ranks,
        output=output,
        deadline_s=_DEADLINE_S,
    )
    return max(float(value) for result in results for value in result.values())
