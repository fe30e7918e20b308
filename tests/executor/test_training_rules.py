"""Momentum, learning-rate schedules and clipping train as one process does: float64, 1e-10.

The single process clips with `torch.nn.utils.clip_grad_norm_` over the whole model; the pipeline's
ranks know their own stages only, and replicas must count once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from executor.cases import Case, Job
from executor.ranks.launch import launch
from pipeline.errors import InputError
from pipeline.formats.schedule_file import schedule_json
from pipeline.models import MLP, config_dict
from pipeline.schedules import build

pytestmark = pytest.mark.multiprocess

TOLERANCE = 1e-10
MODEL = MLP("mlp", blocks=6, hidden=12, features=5, classes=4)
FLUSHING = ("chimera", "dapple", "gems", "interleaved", "zb-h1", "data-parallel")
CLIPPED = {"optimizer": "adamw", "learning_rate": 1e-2, "clip_norm": 0.05}
MOMENTUM = {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1}
COSINE = {"decay": "cosine", "rate_warmup": 2, "rate_steps": 5}


def _job(names: tuple[str, ...], width: int, settings: dict[str, Any]) -> Job:
    schedules = {name: build(name, stages=2, microbatches=4) for name in names}
    cases = tuple(Case(name, schedule_json(item), 3, width) for name, item in schedules.items())
    return Job(config_dict(MODEL), cases, iterations=4, dtype="float64", **settings)


def _differences(job: Job, output: Path, target: str = "executor.verify:difference") -> dict[str, float]:
    ranks = 2 * job.cases[0].width
    results = launch(target, job.payload(), ranks=ranks, output=output, deadline_s=120)
    return {case.label: max(result[case.label] for result in results) for case in job.cases}


def _wrong(differences: dict[str, float]) -> dict[str, float]:
    return {label: found for label, found in differences.items() if not found < TOLERANCE}


@pytest.mark.parametrize("width", [1, 2])
def test_the_global_norm_is_that_of_the_whole_model(width: int, tmp_path: Path) -> None:
    assert not _wrong(_differences(_job(FLUSHING, width, {**CLIPPED, **COSINE}), tmp_path))


def test_momentum_decay_and_clipping_go_together(tmp_path: Path) -> None:
    settings = {**MOMENTUM, "decay": "linear", "rate_warmup": 1, "rate_steps": 4, "clip_norm": 0.1}
    assert not _wrong(_differences(_job(("chimera", "gpipe"), 1, settings), tmp_path))


def test_asynchronous_schedules_follow_rate_and_momentum_too(tmp_path: Path) -> None:
    assert not _wrong(_differences(_job(("pipedream", "pipedream-2bw"), 1, {**MOMENTUM, **COSINE}), tmp_path))


@pytest.mark.parametrize("fault", ["difference_without_clipping", "difference_with_replicas_counted_twice"])
def test_the_comparison_sees_what_clipping_can_do_wrong(fault: str, tmp_path: Path) -> None:
    job = _job(("chimera",), 1, {**MOMENTUM, "clip_norm": 0.05})
    assert _differences(job, tmp_path, f"tests.executor.targets:{fault}")["chimera"] > 1e-4


@pytest.mark.parametrize("name", ["pipedream", "pipedream-2bw"])
def test_stages_that_step_apart_have_no_common_norm(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="never a norm of them all") as refused:
        _differences(_job((name,), 1, CLIPPED), tmp_path)
    assert "dapple" in refused.value.remedy


def test_momentum_belongs_to_sgd(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="momentum 0.9 with adamw"):
        _differences(_job(("dapple",), 1, {"optimizer": "adamw", "momentum": 0.9}), tmp_path)
