"""Profiles and predictions are values: equal by content, picklable, shown in one line; numbers have units."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.metrics import measure
from chimera.pipeline.schedules import build
from chimera.simulator import Prediction, Profile, load_profile, simulate
from chimera.simulator.costs.profile import Jitter, LayerCost, LinkCost, Overheads, SizeCost, require_profile
from chimera.simulator.costs.profile_file import shipped
from chimera.simulator.predicting import large
from tests.grids import NAMES

PLAIN = (str, int, float, bool, type(None))
LINKED = Profile.uniform("1ms", "2ms", p2p="300us")
NOISY = replace(LINKED, jitter=Jitter(action_quantiles=(-0.1, 0.0, 0.4)))

profiles = st.builds(
    lambda name, forward, sizes, link, factor: Profile(
        name,
        tuple(LayerCost("s", (SizeCost(size, forward, 2 * forward),)) for size in sizes),
        links={"local": LinkCost(link)},
        overheads=Overheads(overlap_factor=factor),
    ),
    st.sampled_from(["a", "b"]),
    st.integers(0, 2),
    st.lists(st.integers(1, 2), min_size=1, max_size=2),
    st.integers(0, 1),
    st.sampled_from([1, 1.0, 1.5]),
)


def copies(value: object) -> object:
    return pickle.loads(pickle.dumps(value))


@given(profiles, profiles)
def test_profiles_are_equal_and_hash_by_their_fields(one: Profile, other: Profile) -> None:
    names = [item.name for item in fields(Profile) if item.name != "provenance"]
    alike = all(getattr(one, name) == getattr(other, name) for name in names)  # what equality ought to say
    assert (one == other) == alike == (one.digest == other.digest)
    assert one != other or hash(one) == hash(other)
    assert copies(one) == one and hash(copies(one)) == hash(one)


def test_where_and_when_a_profile_was_measured_is_no_part_of_what_it_says() -> None:
    dated = replace(LINKED, provenance={"date": "today"})
    assert dated == LINKED and hash(dated) == hash(LINKED)
    assert copies(dated).provenance == {"date": "today"}  # type: ignore[attr-defined]
    assert replace(LINKED, name="other") != LINKED


@pytest.mark.parametrize("name", shipped())
def test_shipped_profiles_come_back_from_a_pickle(name: str) -> None:
    profile = load_profile(name)
    assert copies(profile) == profile and hash(copies(profile)) == hash(profile)


def asked_twice(name: str, profile: Profile = LINKED, stages: int = 4, **conditions: object) -> list[Prediction]:
    """One question asked twice, of schedules built twice."""
    return [
        simulate(build(name, stages=stages, microbatches=8), profile, **conditions)  # type: ignore[arg-type]
        for _ in range(2)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_one_question_has_one_answer_and_it_comes_back_from_a_pickle(name: str) -> None:
    first, second = asked_twice(name)
    again = copies(first)
    assert first == second == again and hash(first) == hash(second) == hash(again)
    assert isinstance(again, Prediction) and again.timeline == first.timeline == second.timeline
    assert again.as_json() == first.as_json()


@pytest.mark.parametrize(
    "conditions",
    [
        {"width": 2, "semantics": "rendezvous"},
        {"semantics": "stream", "receives": "late"},
        {"slow_devices": {1: 2.5}},
        {"engine": "compiled"},
        {"samples": 7, "seed": 3, "profile": NOISY},
        {"profile": load_profile("bert-base-v100"), "microbatch_size": 2, "partition": (1, 5, 3, 3)},
    ],
    ids=lambda conditions: "-".join(conditions),
)
def test_conditions_survive_a_pickle(conditions: dict[str, object]) -> None:
    """The timeline is made anew from them: a condition that got lost would change it."""
    first, second = asked_twice("dapple", **conditions)  # type: ignore[arg-type]
    again = copies(first)
    assert isinstance(again, Prediction) and first == second == again
    assert again.timeline == first.timeline and measure(again.timeline).iteration_ns == first.metrics.iteration_ns


def test_a_very_large_prediction_is_equal_to_itself_and_leaves_its_timeline_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(large, "_LARGE", 10)
    first, second = asked_twice("dapple")
    assert first == second and first == copies(first)
    monkeypatch.setattr(large, "_LARGE", 10**9)
    plain = asked_twice("dapple", engine="compiled")[0]
    assert copies(first).timeline == first.timeline == plain.timeline  # type: ignore[attr-defined]


def test_a_pickle_does_not_grow_by_a_timeline_that_was_looked_at() -> None:
    first, _ = asked_twice("chimera")
    before = len(pickle.dumps(first))
    assert first.timeline.spans
    assert len(pickle.dumps(first)) == before


def test_a_plan_taken_literally_is_another_question_than_its_schedule() -> None:
    schedule = build("dapple", stages=4, microbatches=8)
    plan = lower(schedule)
    literal = simulate(plan, LINKED)
    assert literal.plan == plan and literal != simulate(schedule, LINKED)
    # devices 0 and 1 launch their steps in another order of issue: the same times, yet another plan
    other = simulate(replace(plan, order=()), LINKED)
    assert other != literal
    again = copies(literal)
    assert again == literal and again.timeline == literal.timeline


def test_another_profile_or_condition_is_another_prediction() -> None:
    base = asked_twice("dapple")[0]
    assert base != asked_twice("dapple", Profile.uniform())[0]
    assert base != asked_twice("dapple", width=2)[0]
    assert base != asked_twice("gpipe")[0]


def test_a_prediction_is_one_line() -> None:
    # 8 micro-batches through 4 stages: (8 + 4 - 1) x 3 ms of which 3 x 3 ms are bubble: 9/33
    prediction = simulate(build("gpipe", stages=4, microbatches=8), Profile.uniform("1ms", "2ms"))
    assert repr(prediction) == str(prediction) == "<Prediction gpipe D=4 N=8: 33 ms, bubble 27.3 %>"
    assert repr(replace(prediction, conditions=replace(prediction.conditions, width=3))).startswith(
        "<Prediction gpipe D=4 N=8 W=3: "
    )
    many = simulate(build("chimera", stages=64, microbatches=64), Profile.uniform())
    strange = replace(many, schedule=replace(many.schedule, name="a\nb" * 500))
    profile = replace(load_profile("bert-base-v100"), name="<i>" * 400)
    for value in (many, strange, profile, Profile.uniform()):
        assert len(repr(value)) < 200 and "\n" not in repr(value)
        assert "<i>" not in value._repr_html_() and len(value._repr_html_()) < 20_000


def test_records_are_flat_and_say_what_the_metrics_say() -> None:
    prediction = simulate(build("pipedream", stages=4, microbatches=8), load_profile("bert-base-v100"))
    (record,) = prediction.records()
    metrics, steady = prediction.metrics, prediction.steady_state
    assert record["iteration_s"] == metrics.iteration_ns / 1e9 and record["bubble_ratio"] == metrics.bubble_ratio
    assert record["peak_memory_bytes"] == max(device.peak_memory_bytes or 0 for device in metrics.per_device) > 0
    assert steady is not None and record["steady_iteration_s"] == steady.iteration_ns / 1e9
    layers = load_profile("bert-base-v100").records()
    assert (layers[0]["layer"], layers[0]["microbatch_size"], layers[0]["forward_ns"]) == (
        "block",
        1,
        1231360,
    )  # its file
    for row in (record, *layers, *simulate(build("gpipe", stages=2, microbatches=2), NOISY, samples=3).records()):
        assert all(isinstance(entry, PLAIN) for entry in row.values())


@pytest.mark.parametrize("name", ["forward", "backward", "p2p"])
@pytest.mark.parametrize(("wrong", "says"), [(0.001, "no unit"), (True, "no unit"), ("1", "no unit"), (-5, "negative")])
def test_a_duration_without_a_unit_or_below_zero_is_refused(name: str, wrong: object, says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        Profile.uniform(**{name: wrong})  # type: ignore[arg-type]
    assert refusal.value.remedy


def test_whole_numbers_are_nanoseconds() -> None:
    assert Profile.uniform(forward=1000, backward=np.int64(2000)) == Profile.uniform("1us", "2us")  # type: ignore[arg-type]


def test_a_name_is_no_profile() -> None:
    assert require_profile(LINKED) is LINKED
    with pytest.raises(InputError, match="is a name") as refusal:
        require_profile("bert-base-v100")
    assert "load_profile('bert-base-v100')" in refusal.value.remedy
