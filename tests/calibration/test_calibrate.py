"""What a calibration is asked for is checked before a rank is started."""

from __future__ import annotations

from typing import Any

import pytest

from chimera.calibration.measuring.calibrate import check_calibration, check_measuring
from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.models import layers
from chimera.pipeline.setting import Setting


def check(model: str = "mlp-tiny", budget_s: float = 10.0, **changes: Any) -> None:
    check_calibration(Setting.of(model, **{"stages": 2, "microbatch_size": 4} | changes), budget_s)


@pytest.mark.parametrize("model", ["mlp-tiny", "gpt-tiny", "bert-tiny", "cnn-tiny"])
def test_a_model_of_every_family_can_be_calibrated(model: str) -> None:
    check(model=model)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "cuda"}, "has only ever run on the CPU"),
        ({"stages": 11}, "10 layers"),  # mlp-tiny: an input, eight hidden ones and an output
        ({"microbatch_size": 0}, "leaves nothing to compute"),
        ({"budget_s": 0.0}, "leaves no time to measure"),
        ({"budget_s": -3.0}, "leaves no time to measure"),
        ({"model": "cnn-tiny", "data": "teacher"}, "holds no images"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check(**changes)


def test_a_model_that_is_not_there_is_answered_with_the_closest() -> None:
    with pytest.raises(UnknownNameError) as refused:
        check(model="mlp-tinny")
    assert "mlp-tiny" in refused.value.remedy


def test_the_smallest_measurement_there_is_passes() -> None:
    check_measuring(Setting.of("mlp-tiny", stages=1, microbatch_size=1), [1], 1e-3)


@pytest.mark.parametrize("stages", [1, 2, 5, 10])
@pytest.mark.parametrize("model", ["mlp-tiny", "gpt-tiny"])
def test_gradients_of_all_stages_are_those_of_the_model(model: str, stages: int) -> None:
    setting = Setting.of(model, stages=stages, microbatch_size=1)
    sizes = setting.gradient_bytes(stages)
    assert len(sizes) == stages and sum(sizes) == 4 * sum(layer.parameters for layer in layers(setting.work.model))
