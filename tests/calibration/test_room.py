"""Whether ranks fit into this host's memory: counted by hand, and refused before they are started."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chimera.executor.jobs import memory as room
from chimera.executor.jobs.cases import Job
from chimera.executor.jobs.memory import check_room, least_held
from chimera.executor.training.train import check_training
from chimera.pipeline.errors import InputError
from chimera.pipeline.grid import Grid
from chimera.pipeline.models import layers, model_config
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.setting import Layout, Optimizer, Setting, Work

PARAMETERS = sum(layer.parameters for layer in layers(model_config("mlp-tiny")))


def asked(
    *schedules: Schedule, width: int = 1, optimizer: Optimizer | None = None, precision: str = "float32"
) -> tuple[Job, dict[str, Schedule]]:
    by_name = {item.name: item for item in schedules}
    work = Work(model_config("mlp-tiny"), precision, optimizer or Optimizer())
    return check_training(by_name, Setting(work, Layout(Grid(2, width), 4))), by_name


@pytest.mark.parametrize(
    ("training", "copies"),
    [
        ({"optimizer": Optimizer("adamw")}, 4),
        ({"optimizer": Optimizer("sgd")}, 2),
        ({"optimizer": Optimizer("sgd", momentum=0.9)}, 3),
        ({"precision": "float64"}, 8),
    ],
)
def test_weights_gradients_and_moments_are_counted(training: dict[str, Any], copies: int) -> None:
    """Copies of four bytes: weights, gradients, AdamW's two moments or SGD's momentum; float64 has twice the bytes."""
    job, schedules = asked(build("gpipe", stages=2, microbatches=2), **training)
    assert least_held(job, job.cases[0], schedules["gpipe"]).always == 4 * copies * PARAMETERS


def test_chimera_holds_every_stage_twice_and_width_copies_everything() -> None:
    job, schedules = asked(build("chimera", stages=2, microbatches=2), width=3)
    assert least_held(job, job.cases[0], schedules["chimera"]).always == 2 * 3 * 16 * PARAMETERS


def test_activations_are_those_in_flight() -> None:
    """One stage, one micro-batch in flight: what layers keep, for 4 samples of 4 bytes; none if recomputed."""
    kept = sum(layer.activation_elements for layer in layers(model_config("mlp-tiny")))
    for options, expected in (({}, 16 * kept), ({"recompute": "all"}, 0)):
        job, schedules = asked(build("dapple", stages=1, microbatches=3, **options))
        assert least_held(job, job.cases[0], schedules["dapple"]).in_flight == expected


def test_activations_of_paced_stages_are_not_the_models() -> None:
    job, schedules = asked(build("dapple", stages=1, microbatches=3))
    assert least_held(job, replace(job.cases[0], pace=()), schedules["dapple"]).in_flight == 0


def test_ranks_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cases take turns: both hold their weights, 2 x 16 bytes a parameter."""
    job, schedules = asked(build("gpipe", stages=2, microbatches=2), build("dapple", stages=2, microbatches=2))
    monkeypatch.setattr(room, "available_bytes", lambda: 32 * PARAMETERS)
    with pytest.raises(InputError, match="gpipe, dapple"):
        check_room(job, schedules)
    monkeypatch.setattr(room, "available_bytes", lambda: 64 * PARAMETERS)
    check_room(job, schedules)


def test_ranks_of_a_cluster_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    job, schedules = asked(build("gpipe", stages=2, microbatches=2))
    monkeypatch.setattr(room, "available_bytes", lambda: 0)
    monkeypatch.setattr(room, "membership", lambda: object())
    check_room(job, schedules)
