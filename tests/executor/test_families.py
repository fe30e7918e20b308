"""A model family is two records: whoever registers them can plan, train, verify and score it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from chimera.calibration.measuring.probes.layer import LayerBench
from chimera.executor.data import Source, check_source, microbatch
from chimera.executor.jobs.cases import Case, Job
from chimera.executor.jobs.results import losses
from chimera.executor.modules import build_layers
from chimera.executor.modules.family import torch_family
from chimera.executor.ranks.clock import CpuClock
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import config_dict, family, input_bytes, layers, model_config, model_names
from chimera.pipeline.models.family import Family, ModelConfig, families, family_of, register
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedules import build
from tests.executor.toy_family import Mean

MODEL = Mean("toy", depth=5, width=8)
SCHEDULES = {name: build(name, stages=2, microbatches=4) for name in ("dapple", "chimera", "zb-h1")}


@dataclass(frozen=True, slots=True)
class Planned(ModelConfig):
    """A config whose family nobody has written modules for."""

    size: int


@pytest.fixture
def planned() -> Iterator[Planned]:
    """A model of a family that has its first half alone, for the time of a test."""
    register(Family("planned", Planned, lambda config: (), lambda config: (config.size,), presets=(Planned("p", 3),)))
    yield Planned("p", 3)
    del family._FAMILIES["planned"]


def test_a_new_family_is_planned_like_those_that_ship() -> None:
    assert model_config(config_dict(MODEL)) == MODEL and config_dict(MODEL)["family"] == MODEL.family == "mean"
    assert [layer.parameters for layer in layers(MODEL)] == [72] * 5 + [9]  # 8 x 8 + 8, and 8 + 1
    assert input_bytes(MODEL) == 8 * 4
    # FLOPs of 5 x 128 and 16: the three first layers are 384, the others 272; with two first it would be 256 and 400
    assert Partition.default(MODEL, 2).counts == (3, 3)


def test_its_modules_are_those_that_were_counted() -> None:
    for layer, module in zip(layers(MODEL), build_layers(MODEL, range(6), seed=3), strict=True):
        assert sum(parameter.numel() for parameter in module.parameters()) == layer.parameters


def test_its_inputs_are_its_own() -> None:
    assert check_source(MODEL, Source()).name == "means"
    batch = microbatch(MODEL, 4, seed=1, iteration=2, number=3)
    assert torch.equal(batch.targets, batch.inputs.mean(1))


def test_its_layers_can_be_measured() -> None:
    job = Job(config_dict(MODEL), ()).payload()
    bench = LayerBench(MODEL, 0, 4, job, torch.device("cpu"))
    # Four samples of eight floats come in and go out; what tanh keeps is its output, which counts as that
    memory = bench.watch_memory()
    assert memory.activation_bytes == memory.output_bytes == 4 * 8 * 4
    assert len(bench.time(CpuClock(), seconds=0).backward_ns) == 3


PIPELINE_HALF = """
from dataclasses import dataclass
from chimera.pipeline.models.family import Family, ModelConfig, register
from chimera.pipeline.models.layer import Layer

@dataclass(frozen=True, slots=True)
class Single(ModelConfig):
    size: int

def _layers(config):
    return (Layer("only", "only", config.size + 1, 2 * config.size, config.size + 1, (1,)),)

register(Family("single", Single, _layers, lambda config: (config.size,), presets=(Single("single-tiny", 4),)))
"""
TORCH_HALF = """
from chimera.executor.data.features import FeatureInputs
from chimera.executor.modules.family import TorchFamily, cross_entropy, register, score_classes
from chimera.executor.modules.linear import Linear
from chimera.pipeline.models import model_config

register(
    TorchFamily(
        config=type(model_config("single-tiny")),
        layer=lambda config, index: Linear(config.size, 1),
        inputs=FeatureInputs("teacher"),
        loss=cross_entropy,
        score=score_classes,
    )
)
"""
USE = """
import sys
import chimera.pipeline.models as models
import chimera.executor.modules as modules
from chimera.executor.data import microbatch

for package in (models, modules):  # as if the two files lay in the two folders
    package.__path__.append(f"{sys.argv[1]}/{package.__name__}")
config = models.model_config("single-tiny")
(layer,) = modules.build_layers(config, [0], seed=0)
batch = microbatch(config, 3, seed=0, iteration=0, number=0)
modules.loss_of(config, layer(batch.inputs), batch.targets).backward()
print(models.model_names()[-1], tuple(layer.weight.grad.shape))
"""


def test_two_files_are_found_by_their_folders(tmp_path: Path) -> None:
    for package, text in (("chimera.pipeline.models", PIPELINE_HALF), ("chimera.executor.modules", TORCH_HALF)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "single.py").write_text(text)
    done = subprocess.run([sys.executable, "-c", USE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "single-tiny (1, 4)", done.stderr


@pytest.mark.multiprocess
def test_it_trains_and_its_gradients_are_those_of_one_process(tmp_path: Path) -> None:
    cases = tuple(Case(name, schedule_json(item), 4) for name, item in SCHEDULES.items())
    train = Job(config_dict(MODEL), cases, iterations=60, warmup=0, held_out=64, learning_rate=1e-2)
    verify = Job(
        config_dict(family_of(MODEL).narrow(MODEL)), cases, optimizer="sgd", learning_rate=1.0, dtype="float64"
    )
    payload = {"train": train.payload(), "verify": verify.payload()}
    ranks = launch("tests.executor.toy_family:trained_and_verified", payload, ranks=2, output=tmp_path, deadline_s=240)
    for name in SCHEDULES:
        row = losses([rank["job"] for rank in ranks], name)
        assert sum(row[-10:]) < sum(row[:10]) / 4, name  # it learns
        scored = [rank["job"]["scores"][name] for rank in ranks]
        assert sum(samples for samples, *_ in scored) == 64, name  # the last stage's rank has seen them all
        assert max(rank["difference"][name] for rank in ranks) < 1e-12, name


def test_a_family_without_modules_can_be_planned_and_says_so_when_it_is_to_be_run(planned: Planned) -> None:
    assert model_config("p") == planned and "p" in model_names()
    with pytest.raises(InputError, match=r"'planned'.*has no torch modules"):
        build_layers(planned, [0], seed=0)


def test_a_config_of_no_family_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Planned"):
        layers(Planned("q", 4))


@pytest.mark.parametrize("name", model_names())
def test_narrow_keeps_every_layer(name: str) -> None:
    config = model_config(name)
    whole, narrow = layers(config), layers(family_of(config).narrow(config))
    assert [layer.kind for layer in narrow] == [layer.kind for layer in whole]
    assert sum(layer.parameters for layer in narrow) <= sum(layer.parameters for layer in whole)


def test_every_family_that_ships_has_both_halves() -> None:
    for one in families():
        for config in one.presets[:1]:
            assert torch_family(config).config is one.config
            assert replace(config, name="mine").family == one.name
