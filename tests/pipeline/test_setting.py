"""The setting of a run: its sizes by hand, its content, and what it refuses."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.grid import Axis, Grid
from chimera.pipeline.models import layers, model_config, model_names
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedules import build
from chimera.pipeline.setting import Layout, Optimizer, Run, Setting, Work

SETTING = Setting.of("mlp-tiny", stages=2, microbatch_size=4, microbatches=6, width=3)

_ORDERS: list[tuple[Axis, Axis]] = [("pipeline", "copy"), ("copy", "pipeline")]


@st.composite
def settings(draw: st.DrawFn) -> Setting:
    model = model_config(draw(st.sampled_from(model_names())))
    small = st.integers(1, 8)
    work = Work(
        model,
        draw(st.sampled_from(["float32", "float64", "bf16"])),
        Optimizer(draw(st.sampled_from(["adamw", "sgd"])), draw(st.floats(1e-6, 1)), clip_norm=draw(st.none() | small)),
        draw(st.sampled_from([None, True, False, (0, 2)])),
    )
    cuts = draw(st.lists(st.lists(small, min_size=1, max_size=5), max_size=2))
    grid = Grid(draw(small), draw(small), order=draw(st.sampled_from(_ORDERS)))
    layout = Layout(grid, draw(small), draw(small), tuple(Partition(tuple(each)) for each in cuts))
    return Setting(work, layout, Run(seed=draw(small), steps=draw(st.none() | small), seconds=1.5))


def test_sizes_by_hand() -> None:
    assert (SETTING.ranks, SETTING.samples) == (2 * 3, 4 * 6 * 3)
    described = layers(SETTING.work.model)
    assert sum(SETTING.gradient_bytes(2)) == 4 * sum(layer.parameters for layer in described)
    first = SETTING.partition(2).ranges[0]
    assert SETTING.boundary_bytes(2) == (4 * 4 * described[first[-1]].boundary_elements,)  # B = 4, float32 = 4 bytes


@pytest.mark.parametrize(
    ("optimizer", "copies"),
    [(Optimizer(), 2), (Optimizer("sgd"), 0), (Optimizer("sgd", momentum=0.9), 1)],
)
def test_adam_keeps_two_moments_and_momentum_one(optimizer: Optimizer, copies: int) -> None:
    assert optimizer.state_copies == copies


@given(settings())
def test_a_setting_survives_json_and_pickle(setting: Setting) -> None:
    again = Setting.from_document(json.loads(json.dumps(setting.document())))
    assert again == setting == pickle.loads(pickle.dumps(setting))
    assert hash(again) == hash(setting) and again.digest == setting.digest


@given(settings(), settings())
def test_settings_differ_where_their_digests_do(one: Setting, other: Setting) -> None:
    assert (one == other) == (one.digest == other.digest)


def test_the_digest_is_the_same_in_another_process() -> None:
    code = (
        "from chimera.pipeline.setting import Setting;"
        "print(Setting.of('mlp-tiny', stages=2, microbatch_size=4, microbatches=6, width=3).digest)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == SETTING.digest


def test_of_a_schedule_it_has_the_devices_and_microbatches() -> None:
    schedule = build("interleaved", stages=4, microbatches=8)
    one = SETTING.of_schedule(schedule)
    assert (one.layout.grid, one.layout.microbatches) == (Grid(4, 3), 8)
    wide = build("dapple", stages=5, microbatches=2)
    assert SETTING.layout.over([schedule, wide]).grid == Grid(5, 3)


def test_a_partition_holds_for_its_number_of_stages_alone() -> None:
    uneven = Partition((1, len(layers(SETTING.work.model)) - 1))
    setting = Setting.of("mlp-tiny", stages=2, microbatch_size=1, partition=uneven)
    assert setting.partition(2) == uneven
    assert setting.partition(3) == Partition.default(setting.work.model, 3)


def _changed(**changes: Any) -> Setting:
    work, layout, run = SETTING.work, SETTING.layout, SETTING.run
    for name, value in changes.items():
        if name in ("steps", "seconds", "compute"):
            run = replace(run, **{name: value})
        elif name in ("microbatch_size", "optimizer_shards"):
            layout = replace(layout, **{name: value})
        else:
            work = replace(work, **{name: value})
    return Setting(work, layout, run)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": None}, "training would never end"),
        ({"steps": None, "seconds": 1.0, "optimizer": Optimizer(decay="linear")}, "would not know where to end"),
        ({"optimizer": Optimizer(momentum=0.5)}, "moments of its own"),
        ({"optimizer": Optimizer("sgd", momentum=1.0)}, "lets old gradients grow"),
        ({"optimizer": Optimizer(learning_rate=0.0)}, "teaches nothing"),
        ({"optimizer": Optimizer(decay="cosine", warmup=10)}, "leave none for a cosine decay"),
        ({"microbatch_size": 0}, "leaves nothing to compute"),
        ({"optimizer_shards": 2}, "no optimizer is sharded"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        _changed(**changes).check()


@pytest.mark.parametrize("changes", [{"optimizer": Optimizer("adam")}, {"precision": "float31"}, {"compute": "pace"}])
def test_a_name_that_there_is_not_is_answered_with_those_there_are(changes: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError) as refusal:
        _changed(**changes).check()
    assert "did you mean" in refusal.value.remedy


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(InputError, match="at least one layer"):
        SETTING.check([99])


def test_a_setting_is_one_line() -> None:
    assert repr(SETTING) == "<Setting mlp-tiny D=2 W=3 B=4 N=6, float32, real>"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda one: replace(one, work=replace(one.work, recompute=True)), "only a schedule says it yet"),
        (lambda one: replace(one, layout=replace(one.layout, sync="eager")), "only a schedule says it yet"),
        (lambda one: replace(one, layout=replace(one.layout, grid=Grid(2, tensor=2))), "only whole devices"),
        (
            lambda one: replace(one, layout=replace(one.layout, grid=Grid(2, 2, order=("copy", "pipeline")))),
            "only whole devices",
        ),
        (lambda one: replace(one, run=replace(one.run, backend="nccl")), "the device chooses it"),
    ],
)
def test_what_nobody_would_act_upon_is_refused_and_not_passed_over(
    changed: Callable[[Setting], Setting], says: str
) -> None:
    SETTING.check()
    with pytest.raises(InputError, match=says):
        changed(SETTING).check()
