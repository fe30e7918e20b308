"""Drawn durations: the same for both engines, the same for schedules that are alike, and as often as they should be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.simulator import Prediction, Profile, simulate
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import AllReduceCost, Jitter, LayerCost, LinkCost, OptimizerCost, SizeCost
from chimera.simulator.costs.profile_file import document, parse
from chimera.simulator.draws.intervals import beats
from chimera.simulator.draws.sampling import draw, drawn
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.direct import engine as reference
from chimera.simulator.workload.contention import contention
from chimera.simulator.workload.workload import Workload
from tests.sizes import examples
from tests.strategies import schedules

PLAIN = Profile.uniform(forward=1000, backward=2000, p2p=500)
spread = st.sampled_from([0.0, 0.2])
jitters = st.builds(
    Jitter,
    action_quantiles=st.sampled_from([(), (-0.1, 0.0, 0.3)]),
    device_spread=spread,
    iteration_spread=spread,
    message_spread=spread,
    all_reduce_spread=spread,
    optimizer_spread=spread,
    straggler_probability=st.sampled_from([0.0, 0.3]),
    straggler_factor=st.just(2.0),
    stalls_per_s=st.sampled_from([0.0, 1e5]),
    stall_ns=st.just(4000),
    run_spread=spread,
)
links = st.builds(LinkCost, st.integers(0, 2000), st.just(1e9), st.integers(0, 99), st.integers(0, 99), st.booleans())


def machine(jitter: Jitter, link: LinkCost) -> Profile:
    cost = SizeCost(1, 1000, 2000, boundary_bytes=700, forward_spread=0.1, backward_spread=0.05)
    return Profile(
        "varied",
        (LayerCost("s", (cost,), parameters=90),),
        per_stage=True,
        links={"local": link},
        jitter=jitter,
        all_reduce=AllReduceCost(300, 1e9),
        optimizer=OptimizerCost(400),
    )


@settings(max_examples=examples(50), deadline=None)
@given(schedules(max_stages=4, max_microbatches=6), jitters, links, st.integers(1, 2))
def test_both_engines_give_every_draw_the_same_time(
    schedule: Schedule, jitter: Jitter, link: LinkCost, width: int
) -> None:
    profile = machine(jitter, link)
    workload = Workload(lower(schedule, width=width), profile, Durations(schedule, profile), width)
    if contention(workload):
        return
    (batch,) = draw(workload, 4, seed=3)
    expected = [reference.run(drawn(workload, row)).end_ns for row in batch]
    assert CompiledWorkload(workload).iteration_ns(batch).tolist() == expected


def drawn_times(
    name: str, jitter: Jitter, *, seed: int = 0, samples: int = 200, profile: Profile = PLAIN
) -> Prediction:
    schedule = build(name, stages=4, microbatches=8)
    return simulate(schedule, replace(profile, jitter=jitter), engine="compiled", samples=samples, seed=seed)


def test_the_same_drift_meets_every_schedule() -> None:
    """Chimera takes 10/11 of GPipe's time (tables 1 and 2 of its paper): with drift only, in every single draw."""
    gpipe, chimera = (
        drawn_times(name, Jitter(iteration_spread=0.5), profile=Profile.uniform()) for name in ("gpipe", "chimera")
    )
    assert gpipe.interval_s is not None and chimera.interval_s is not None
    assert chimera.interval_s[2] > gpipe.interval_s[0]  # apart from common draws, the intervals overlap widely
    assert beats(chimera.draws_ns or (), gpipe.draws_ns or ()) == 1.0


def test_the_same_devices_straggle_in_every_schedule() -> None:
    """Of each of four devices: its 8 (F + B) of work, or 1.5 times that, in the same draws whatever the order."""
    profile = replace(Profile.uniform(), jitter=Jitter(straggler_probability=0.2, straggler_factor=1.5))
    totals = []
    for name in ("gpipe", "dapple", "zb-h1"):
        schedule = build(name, stages=4, microbatches=8)
        (batch,) = draw(Workload(lower(schedule), profile, Durations(schedule, profile)), 50, seed=7)
        columns = batch.shape[1] - 4  # the optimizer steps come last
        totals.append(batch[:, :columns].reshape(50, 4, columns // 4).sum(axis=2).tolist())
    assert totals[0] == totals[1] == totals[2]
    assert {total for row in totals[0] for total in row} == {24_000_000, 36_000_000}


def test_the_same_action_is_slow_in_every_schedule() -> None:
    """One stage does the same actions in whatever order: their sum is the same in every draw, to rounding."""
    jitter = Jitter(action_quantiles=(-0.2, 0.0, 0.5))
    one, other = (
        simulate(build(name, stages=1, microbatches=8), replace(PLAIN, jitter=jitter), samples=20)
        for name in ("gpipe", "dapple")
    )
    assert one.draws_ns == other.draws_ns and len(set(one.draws_ns or ())) == 20


def test_a_straggler_in_every_draw_is_a_slower_machine() -> None:
    always = drawn_times("dapple", Jitter(straggler_probability=1.0, straggler_factor=2.0), profile=Profile.uniform())
    # (N + D - 1)(F + B) with everything twice as slow
    assert set(always.draws_ns or ()) == {2 * (8 + 4 - 1) * 3_000_000}


def test_stragglers_come_as_often_as_they_should() -> None:
    """On one device the share of slow iterations is p; 4 standard errors of a share of 2000 draws."""
    profile = replace(Profile.uniform(), jitter=Jitter(straggler_probability=0.1, straggler_factor=3.0))
    found = simulate(build("gpipe", stages=1, microbatches=2), profile, samples=2000, engine="compiled").draws_ns or ()
    share = sum(end == 3 * 2 * 3_000_000 for end in found) / len(found)
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / 2000) ** 0.5


def test_messages_vary_around_their_expected_time() -> None:
    """Two stages, one micro-batch: two messages of 1 ms x a log-normal of mean exp(s^2 / 2) each."""
    s = 0.3
    profile = replace(Profile.uniform(p2p="1ms"), jitter=Jitter(message_spread=s))
    found = simulate(build("gpipe", stages=2, microbatches=1), profile, samples=4000, engine="compiled").draws_ns
    messages = (np.array(found) - 6_000_000) / 1e6
    error = (2 * np.exp(s**2) * (np.exp(s**2) - 1) / 4000) ** 0.5
    assert abs(messages.mean() - 2 * np.exp(s**2 / 2)) < 4 * error


def test_stalls_come_as_often_and_last_as_long_as_they_should() -> None:
    """Two forwards of 1 ms and two backwards of 2 ms: chances 1 - exp(-20 x 1 ms) and so on, 3 ms each on average."""
    profile = replace(
        Profile.uniform(), jitter=Jitter(action_quantiles=(0.0, 0.0), stalls_per_s=20.0, stall_ns=3_000_000)
    )
    found = simulate(build("gpipe", stages=1, microbatches=2), profile, samples=4000, engine="compiled").draws_ns
    assert found is not None
    chances = 1 - np.exp(-20 * np.array([1e-3, 1e-3, 2e-3, 2e-3]))
    error = (2 * 3e6**2 * chances.sum() / 4000) ** 0.5  # the second moment of an exponential is twice its mean's square
    assert abs(np.mean(found) - 6e6 - 3e6 * chances.sum()) < 4 * error


def test_a_run_has_a_factor_of_its_own() -> None:
    profile = replace(Profile.uniform(), jitter=Jitter(action_quantiles=(0.0, 0.0), run_spread=0.05))
    found = simulate(build("gpipe", stages=1, microbatches=2), profile, samples=4000, engine="compiled").draws_ns
    assert found is not None
    assert abs(np.std(np.log(found)) - 0.05) < 4 * 0.05 / (2 * 4000) ** 0.5


@pytest.mark.parametrize("varied", ["all_reduce_spread", "optimizer_spread"])
def test_all_reduces_and_steps_vary_when_they_are_said_to(varied: str) -> None:
    spread: dict[str, Any] = {varied: 0.3}
    profile = machine(Jitter(action_quantiles=(0.0, 0.0), **spread), LinkCost())
    found = simulate(build("chimera", stages=2, microbatches=4), profile, samples=30)
    ends = {"all_reduce_spread": "sync", "optimizer_spread": "optimizer"}[varied]
    assert found.typical is not None
    for stream in ("compute", "sync", "optimizer"):
        drawn_lengths, expected = (
            [span.end_ns - span.start_ns for span in timeline.spans if span.stream == stream]
            for timeline in (found.typical, found.timeline)
        )
        assert (sorted(drawn_lengths) != sorted(expected)) == (stream == ends)


def test_beating_is_counted_draw_by_draw_and_ties_are_shared() -> None:
    # faster in two of four draws, equal in one
    assert beats((1, 1, 5, 9), (2, 2, 5, 3)) == 0.625
    assert beats((2, 2, 5, 3), (1, 1, 5, 9)) == 0.375


def test_older_profiles_without_the_new_fields_still_load() -> None:
    import json

    old = document(replace(PLAIN, jitter=Jitter(device_spread=0.1)))
    new = ("message_spread", "all_reduce_spread", "optimizer_spread", "straggler_probability", "straggler_factor")
    for field in new:
        del old["jitter"][field]
    assert parse(json.dumps(old)).jitter == Jitter(device_spread=0.1)


@pytest.mark.parametrize("wrong", [{"straggler_probability": 1.5}, {"straggler_factor": 0.5}, {"message_spread": -1}])
def test_what_no_distribution_has_is_refused(wrong: dict[str, float]) -> None:
    import json

    with pytest.raises(InputError, match=next(iter(wrong))):
        parse(json.dumps({**document(PLAIN), "jitter": wrong}))


def test_a_negative_seed_is_refused_with_a_remedy() -> None:
    with pytest.raises(InputError, match="seed -1"):
        simulate(build("gpipe", stages=2, microbatches=2), PLAIN, samples=3, seed=-1)
