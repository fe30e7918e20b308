"""The verdict's arithmetic by hand, and the real closed loop once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chimera.calibration.judging.statistics import Interval, find_disturbed_rounds
from chimera.calibration.judging.validate import validate
from chimera.calibration.judging.validation import CaseError, Figures, Validation, ValidationCase
from chimera.calibration.measuring.session import available_cores
from chimera.pipeline.errors import InputError
from chimera.pipeline.models import layers, model_config
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.setting import Setting
from chimera.pipeline.timeline import Timeline
from chimera.simulator import Profile, load_profile, save_profile
from chimera.simulator.costs.profile import Jitter
from tests.slowness import slowness


def case(name: str, predicted_s: float, measured_s: float, error_s: float = 0.001) -> ValidationCase:
    interval = Interval(measured_s, measured_s - 2 * error_s, measured_s + 2 * error_s, error_s)
    return ValidationCase(
        schedule=name,
        stages=2,
        microbatches=8,
        width=1,
        predicted=Figures(predicted_s, 0.10, 32 / predicted_s, (100, 110)),
        measured=Figures(measured_s, 0.12, 32 / measured_s, (100, 100)),
        interval=interval,
        predicted_interval_s=None,
        iterations=10,
        inside_interval=9,
        set_aside=1,
        predicted_timeline=Timeline("predicted", name, 2, (), 1),
        measured_timeline=Timeline("measured", name, 2, (), 1),
    )


def verdict(*cases: ValidationCase, tolerance: float = 0.05, noise: float = 0.01) -> Validation:
    return Validation(
        machine={},
        compute="real",
        model="gpt-tiny",
        microbatch_size=4,
        calibration_s=1.0,
        repeat_noise=noise,
        drift=0.0,
        tolerance=tolerance,
        cases=cases,
        gradients_match_reference=True,
        max_gradient_difference=0.0,
        profile=Profile.uniform(),
        provenance={},
    )


def test_errors_are_signed_and_relative() -> None:
    error = CaseError.between(Figures(0.9, 0.10, 50, (100, 110)), Figures(1.0, 0.12, 40, (100, 100)))
    assert error.iteration == pytest.approx(-0.1) and error.throughput == pytest.approx(0.25)
    assert error.bubble_ratio_points == pytest.approx(-2.0) and error.peak_memory == pytest.approx(0.1)


def test_summary_and_verdict() -> None:
    good = verdict(case("a", 1.02, 1.0), case("b", 1.96, 2.0))
    assert good.summary.mean_abs_error_iteration == pytest.approx(0.02)
    assert good.passed and "passed" in good.verdict
    bad = verdict(case("a", 1.2, 1.0), case("b", 2.0, 2.0))
    assert not bad.passed and "failed: a" in bad.verdict
    assert "too noisy now (repeat noise 6.0%" in verdict(case("a", 1.0, 1.0), noise=0.06).verdict
    unsure = replace(Profile.uniform(), jitter=Jitter(run_spread=0.08))
    doubted = replace(good, profile=unsure)
    assert doubted.too_noisy and "calibration runs are 8.0% from what the others say" in doubted.verdict
    wrong = replace(good, gradients_match_reference=False, max_gradient_difference=0.5)
    assert not wrong.passed and "gradients differ" in wrong.verdict


def test_ranking_counts_only_pairs_that_the_measurement_tells_apart() -> None:
    assert not verdict(case("a", 1.0, 2.0), case("b", 1.1, 1.0)).summary.ranking_agrees
    assert verdict(case("a", 1.0, 2.00, 0.5), case("b", 1.1, 1.95, 0.5)).summary.ranking_agrees


def test_rounds_are_set_aside_by_their_calibration_runs_alone() -> None:
    assert find_disturbed_rounds({0: 1.0, 1: 1.05, 2: 1.3, 3: 1.0}) == {2}
    assert find_disturbed_rounds({}) == set()


def test_what_validation_cannot_do_is_said(tmp_path: Path) -> None:
    def _setting(**sizes: Any) -> Setting:
        return Setting.of("gpt-tiny", microbatches=2, microbatch_size=1, **sizes)

    uniform = Profile.uniform()
    with pytest.raises(InputError, match="ranks on") as refusal:
        validate(["gpipe"], _setting(stages=available_cores(), width=2), output=tmp_path)
    assert "--compute paced" in refusal.value.remedy
    with pytest.raises(InputError, match="not told how long they take"):
        validate(["gpipe"], _setting(stages=1), pace=uniform, output=tmp_path)
    with pytest.raises(InputError, match="not the layers of a model"):
        validate(["gpipe"], _setting(stages=1, compute="paced"), pace=uniform, output=tmp_path)


@pytest.mark.multiprocess
@pytest.mark.slow
@pytest.mark.timing
def test_the_loop_closes_on_this_machine(tmp_path: Path) -> None:
    """Real calibration, prediction and run. What noise cannot touch is asserted; its error is bounded loosely.

    The accuracy claim itself is measured by `chimera validate` and recorded in docs/validation.md:
    timings on shared machines do not belong into tests.
    """
    found = validate(
        ["gpipe", "dapple", "chimera"],
        Setting.of("gpt-tiny", stages=2, microbatches=4, microbatch_size=2),
        output=tmp_path,
        budget_s=4,
    )
    document = found.as_json()
    assert found.gradients_match_reference and found.max_gradient_difference < 1e-10
    assert found.summary.mean_abs_error_peak_memory < 0.05  # memory is exact whatever the noise
    assert [entry["schedule"] for entry in document["cases"]] == ["gpipe", "dapple", "chimera"]
    assert all(abs(entry["error"]["iteration"]) < 0.5 * slowness() for entry in document["cases"])
    save_profile(found.profile, tmp_path / "profile.json")
    assert load_profile(tmp_path / "profile.json").layers == found.profile.layers


@pytest.mark.multiprocess
@pytest.mark.slow
@pytest.mark.timing
def test_the_loop_closes_for_unequal_stages(tmp_path: Path) -> None:
    """Weights are most of this model's memory, so the peaks say which layers each side took to be where."""
    uneven = Partition((1, len(layers(model_config("mlp-tiny"))) - 1))
    setting = Setting.of("mlp-tiny", stages=2, microbatches=4, microbatch_size=2, partition=uneven)
    found = validate(["gpipe", "dapple"], setting, output=tmp_path, budget_s=3)
    assert found.gradients_match_reference
    for case in found.cases:
        first, second = case.measured.peak_memory_bytes
        assert second > 2 * first and abs(case.error.peak_memory) < 0.05


@pytest.mark.multiprocess
@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.parametrize(("stages", "compute"), [(1, "real"), (2, "paced")])
def test_the_loop_closes_for_two_copies_of_a_pipeline(stages: int, compute: str, tmp_path: Path) -> None:
    """Hybrid parallelism: real where there is a core a rank, else paced and labelled so."""
    names = ["dapple", "chimera"] if stages > 1 else ["gpipe"]
    found = validate(
        names,
        Setting.of("gpt-tiny", stages=stages, microbatches=4, microbatch_size=2, width=2, compute=compute),
        output=tmp_path,
        budget_s=4,
    )
    document = found.as_json()
    assert document["compute"] == compute and found.gradients_match_reference
    assert {measured.group for measured in found.profile.all_reduce.measured} == ({2, 4} if stages > 1 else {2})
    for case in found.cases:
        assert case.width == 2 and len(case.measured.peak_memory_bytes) == stages
        assert case.measured.throughput_samples_per_s == pytest.approx(16 / case.measured.iteration_s)
        assert abs(case.error.peak_memory) < 0.05 and abs(case.error.iteration) < 0.5 * slowness()
        assert case.measured_timeline.source == ("paced" if compute == "paced" else "measured")
