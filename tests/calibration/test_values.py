"""A validation is a value: compared by what it found, not by when; picklable, one line, a row for each case."""

from __future__ import annotations

import pickle
from dataclasses import replace

from chimera.calibration.judging.statistics import Interval
from chimera.calibration.judging.validation import Figures, Validation, ValidationCase
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import Timeline
from chimera.simulator import Profile, simulate


def case(name: str, predicted_s: float) -> ValidationCase:
    """Measured as 1 s; a bubble of 10 % predicted as 12 %; peaks of 100 bytes of which one is predicted as 110."""
    timeline = simulate(build("gpipe", stages=2, microbatches=2), Profile.uniform()).timeline
    return ValidationCase(
        schedule=name,
        stages=2,
        microbatches=2,
        width=1,
        predicted=Figures(predicted_s, 0.12, 2 / predicted_s, (100, 110)),
        measured=Figures(1.0, 0.10, 2.0, (100, 100)),
        interval=Interval(1.0, 0.99, 1.01, 0.005),
        predicted_interval_s=(0.9, 1.0, 1.1),
        iterations=10,
        inside_interval=9,
        set_aside=1,
        predicted_timeline=timeline,
        measured_timeline=replace(timeline, source="measured", memory=(), provenance={"host": "here"}),
    )


def verdict(*cases: ValidationCase, **changes: object) -> Validation:
    values: dict[str, object] = {
        "machine": {"processor": "a CPU", "cores": 4},
        "compute": "real",
        "model": "gpt-tiny",
        "microbatch_size": 4,
        "calibration_s": 1.0,
        "repeat_noise": 0.01,
        "drift": 0.0,
        "tolerance": 0.05,
        "cases": cases,
        "gradients_match_reference": True,
        "max_gradient_difference": 0.0,
        "profile": Profile.uniform(),
        "provenance": {"date": "yesterday"},
    }
    return Validation(**(values | changes))  # type: ignore[arg-type]


def test_a_validation_comes_back_from_a_pickle() -> None:
    validation = verdict(case("gpipe", 1.02), case("dapple", 0.9))
    again = pickle.loads(pickle.dumps(validation))
    assert again == validation and again.as_json() == validation.as_json()
    assert again.cases[0].measured_timeline == validation.cases[0].measured_timeline


def test_dates_are_outside_and_findings_inside_of_equality() -> None:
    validation = verdict(case("gpipe", 1.02))
    assert verdict(case("gpipe", 1.02), provenance={"date": "today"}) == validation
    assert verdict(case("gpipe", 1.03)) != validation
    assert verdict(case("gpipe", 1.02), drift=0.1) != validation
    assert verdict(case("gpipe", 1.02), profile=Profile.uniform(p2p="1ms")) != validation


def test_a_validation_is_one_line() -> None:
    validation = verdict(case("gpipe", 1.02))
    assert repr(validation) == (
        "<Validation gpt-tiny: 1 case, passed: every iteration time within 5.0% (worst 2.0%, repeat noise 1.0%)>"
    )
    for value in (verdict(), verdict(*(case(f"schedule-{number}\n<b>", 2.0) for number in range(50)))):
        assert len(repr(value)) < 200 and "\n" not in repr(value)
        assert "<b>" not in value._repr_html_() and value._repr_html_().startswith("<table>")


def test_a_record_stands_predicted_beside_measured() -> None:
    record, other = verdict(case("gpipe", 1.02), case("dapple", 0.5)).records()
    assert all(isinstance(entry, str | int | float | bool | None) for entry in record.values())
    assert (record["predicted_iteration_s"], record["measured_iteration_s"]) == (1.02, 1.0)
    assert abs(float(record["iteration_error_ratio"] or 0) - 0.02) < 1e-12
    assert abs(float(record["bubble_ratio_error_points"] or 0) - 2) < 1e-12
    assert (record["predicted_peak_memory_bytes"], record["measured_peak_memory_bytes"]) == (110, 100)
    assert record["within_tolerance"] is True and other["within_tolerance"] is False


def test_a_timeline_of_nothing_is_still_one_line() -> None:
    assert repr(Timeline("measured", "x", 1, (), 0)) == "<Timeline measured D=1: x, 0 ns, 0 spans, 0 transfers>"
