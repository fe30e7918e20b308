"""Momentum, learning-rate schedules and clipping train as one process does: float64, 1e-10.

The single process clips with `torch.nn.utils.clip_grad_norm_` over the whole model; the pipeline's
ranks know their own stages only, and replicas must count once.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from chimera.executor.iteration.clipping import refuse_clipping
from chimera.executor.iteration.weights import optimizer_options
from chimera.executor.jobs.cases import Case, Job
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import MLP, config_dict
from chimera.pipeline.schedules import build

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


TOGETHER = {
    "the global norm is that of the whole model": _job(FLUSHING, 1, {**CLIPPED, **COSINE}),
    "and of all copies of the pipeline": _job(FLUSHING, 2, {**CLIPPED, **COSINE}),
    "momentum, decay and clipping go together": _job(
        ("chimera", "gpipe"), 1, {**MOMENTUM, "decay": "linear", "rate_warmup": 1, "rate_steps": 4, "clip_norm": 0.1}
    ),
    "asynchronous schedules follow rate and momentum too": _job(
        ("pipedream", "pipedream-2bw"), 1, {**MOMENTUM, **COSINE}
    ),
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, float]]]:
    """Per rank and job, the differences of its cases."""
    payload = {"jobs": {name: job.payload() for name, job in TOGETHER.items()}}
    output = tmp_path_factory.mktemp("rules")
    return launch("tests.executor.targets:differences", payload, ranks=4, output=output, deadline_s=120)


@pytest.mark.parametrize("name", TOGETHER)
def test_rules_act_as_in_one_process(name: str, ranks: list[dict[str, dict[str, float]]]) -> None:
    expected = {case.label for case in TOGETHER[name].cases}
    assert {label for rank in ranks for label in rank[name]} == expected
    assert not [(label, found) for rank in ranks for label, found in rank[name].items() if not found < TOLERANCE]


def test_the_comparison_sees_what_clipping_can_do_wrong(tmp_path: Path) -> None:
    job = _job(("chimera",), 1, {**MOMENTUM, "clip_norm": 0.05})
    target = "tests.executor.targets:differences_of_wrong_clipping"
    (worst, *_) = launch(target, job.payload(), ranks=2, output=tmp_path, deadline_s=120)
    assert {fault for fault, found in worst.items() if found["chimera"] > 1e-4} == {
        "replicas counted twice",
        "no clipping",
    }


def test_a_run_whose_stages_step_apart_has_no_common_norm(tmp_path: Path) -> None:
    job = _job(("pipedream",), 1, CLIPPED)
    with pytest.raises(InputError, match="never a norm of them all") as refused:
        launch(
            "chimera.executor.verification.difference:difference",
            job.payload(),
            ranks=2,
            output=tmp_path,
            deadline_s=120,
        )
    assert "dapple" in refused.value.remedy


@pytest.mark.parametrize(
    ("name", "fits"), [("pipedream-2bw", False), ("pipedream", False), ("dapple", True), ("gems", True)]
)
def test_only_schedules_with_a_flush_can_be_clipped(name: str, fits: bool) -> None:
    schedule = build(name, stages=2, microbatches=4)
    with nullcontext() if fits else pytest.raises(InputError, match="never a norm of them all"):
        refuse_clipping(0.1, schedule)


def test_momentum_belongs_to_sgd() -> None:
    assert optimizer_options("sgd", 0.9) == {"momentum": 0.9}
    with pytest.raises(InputError, match="momentum 0.9 with adamw"):
        optimizer_options("adamw", 0.9)
