"""bfloat16: half the bytes on the wire, float32 weights, and a loss that stays close to float32's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from executor.cases import Case, Job
from executor.precision import precision_of
from executor.ranks.launch import launch
from executor.results import losses, timelines
from pipeline.errors import InputError, UnknownNameError
from pipeline.formats.schedule_file import schedule_json
from pipeline.models import GPT, MLP, ModelConfig, config_dict
from pipeline.schedules import build

GPT_SMALL = GPT("gpt", blocks=2, hidden=32, heads=2, sequence=16, vocabulary=256)
MLP_SMALL = MLP("mlp", blocks=6, hidden=64, features=16, classes=4)
NAMES = ("dapple", "chimera", "zb-h1", "data-parallel")


def _run(model: ModelConfig, precision: str, output: Path, **settings: Any) -> Any:
    cases = tuple(Case(name, schedule_json(build(name, stages=2, microbatches=4)), 4) for name in NAMES)
    job = Job(config_dict(model), cases, warmup=0, dtype=precision, **settings)
    return launch("executor.job:run_job", job.payload(), ranks=2, output=output / precision, deadline_s=120)


@pytest.mark.multiprocess
@pytest.mark.parametrize("model", [GPT_SMALL, MLP_SMALL], ids=lambda model: model.family)
def test_messages_have_half_the_bytes_and_the_loss_stays_close(model: ModelConfig, tmp_path: Path) -> None:
    wide, narrow = (_run(model, precision, tmp_path, rounds=12) for precision in ("float32", "bf16"))
    for name in NAMES:
        sizes = [{t.size_bytes for t in timelines(found, name)[0].transfers} for found in (wide, narrow)]
        assert {2 * size for size in sizes[1]} == sizes[0]
        # bfloat16 has 8 significant bits: 2^-8 = 0.4 % a rounding; 2 % over 12 steps is stated, 0 would be float32.
        exact, rough = losses(wide, name), losses(narrow, name)
        assert rough == pytest.approx(exact, rel=0.02) and rough != exact
        # weights, gradients and the optimizer's state stay float32: as many bytes as before
        held = [[rank["memory"][name]["baseline_bytes"] for rank in found] for found in (wide, narrow)]
        assert held[0] == held[1]


@pytest.mark.multiprocess
def test_every_schedule_computes_the_same_in_bf16(tmp_path: Path) -> None:
    found = _run(MLP_SMALL, "bf16", tmp_path, rounds=3, memory=False)
    for name in NAMES:
        assert losses(found, name) == pytest.approx(losses(found, "dapple"), rel=2e-3)


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
