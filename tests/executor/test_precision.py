"""bfloat16: half the bytes on the wire, float32 weights, and a loss that stays close to float32's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.jobs.precision import precision_of
from chimera.executor.jobs.results import losses, timelines
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import GPT, MLP, config_dict
from chimera.pipeline.schedules import build

GPT_SMALL = GPT("gpt", blocks=2, hidden=32, heads=2, sequence=16, vocabulary=256)
MLP_SMALL = MLP("mlp", blocks=6, hidden=64, features=16, classes=4)
NAMES = ("dapple", "chimera", "zb-h1", "data-parallel")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The results of each model in each precision."""
    cases = tuple(Case(name, schedule_json(build(name, stages=2, microbatches=4)), 4) for name in NAMES)
    jobs = {
        f"{model.family} {precision}": Job(config_dict(model), cases, warmup=0, dtype=precision, rounds=12).payload()
        for model in (GPT_SMALL, MLP_SMALL)
        for precision in ("float32", "bf16")
    }
    output = tmp_path_factory.mktemp("precision")
    ranks = launch("tests.executor.targets:jobs", {"jobs": jobs}, ranks=2, output=output, deadline_s=120)
    return {name: [rank[name] for rank in ranks] for name in jobs}


@pytest.mark.multiprocess
@pytest.mark.parametrize("family", ["gpt", "mlp"])
def test_messages_have_half_the_bytes_and_the_loss_stays_close(family: str, found: dict[str, list[Any]]) -> None:
    wide, narrow = (found[f"{family} {precision}"] for precision in ("float32", "bf16"))
    for name in NAMES:
        sizes = [{t.size_bytes for t in timelines(results, name)[0].transfers} for results in (wide, narrow)]
        assert {2 * size for size in sizes[1]} == sizes[0]
        # bfloat16 has 8 significant bits: 2^-8 = 0.4 % a rounding; 2 % over 12 steps is stated, 0 would be float32.
        exact, rough = losses(wide, name), losses(narrow, name)
        assert rough == pytest.approx(exact, rel=0.02) and rough != exact
        # weights, gradients and the optimizer's state stay float32: as many bytes as before
        held = [[rank["memory"][name]["baseline_bytes"] for rank in results] for results in (wide, narrow)]
        assert held[0] == held[1]


@pytest.mark.multiprocess
def test_every_schedule_computes_the_same_in_bf16(found: dict[str, list[Any]]) -> None:
    narrow = found["mlp bf16"]
    for name in NAMES:
        assert losses(narrow, name)[:3] == pytest.approx(losses(narrow, "dapple")[:3], rel=2e-3)


def test_a_device_without_bfloat16_is_refused_with_a_remedy() -> None:
    with pytest.raises(InputError, match="bf16 on meta") as refused:
        precision_of("bf16", torch.device("meta"))
    assert refused.value.remedy == "use float32"
    with pytest.raises(UnknownNameError, match="fp8"):
        precision_of("fp8", torch.device("cpu"))


def test_autocast_leaves_weights_in_float32_and_messages_in_bfloat16() -> None:
    precision = precision_of("bf16", torch.device("cpu"))
    inner, last = (precision.stage(torch.nn.Linear(4, 4), last=last) for last in (False, True))
    assert {p.dtype for p in inner.parameters()} == {torch.float32}
    given = torch.ones(2, 4)
    assert inner(given).dtype is torch.bfloat16 and last(inner(given)).dtype is torch.float32
