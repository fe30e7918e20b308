"""What a transport makes wait: rendezvous and batched, by hand and against the plan checker."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.errors import DeadlockError, InputError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.soundness.check import check_plan
from chimera.pipeline.soundness.replay import Semantics
from chimera.simulator import Profile, simulate
from tests.sizes import examples

schedules = st.one_of(
    st.builds(lambda p, m: build("dapple", stages=p, microbatches=m), st.integers(2, 5), st.integers(1, 7)),
    st.builds(lambda p, m: build("gpipe", stages=p, microbatches=m), st.integers(2, 5), st.integers(1, 7)),
    st.builds(lambda h, m: build("chimera", stages=2 * h, microbatches=m), st.integers(1, 3), st.integers(1, 9)),
)
blocking = st.sampled_from(["rendezvous", "batched"])


def test_rendezvous_holds_both_ends() -> None:
    # GPipe, 2 stages, 2 micro-batches, F = B = 10, latency 5, receives late. Device 0: F0 0-10, send until
    # 15, F1 15-25, send until 30. Device 1: F0 15-25, F1 30-40, B0 40-50, send until 55, B1 55-65, send
    # until 70. Device 0: B0 55-65, B1 70-80.
    plan = lower(build("gpipe", stages=2, microbatches=2), receives="late")
    timeline = simulate(plan, Profile.uniform(forward=10, backward=10, p2p=5), semantics="rendezvous").timeline
    assert [(s.start_ns, s.end_ns) for s in timeline.of_device(0)] == [(0, 10), (15, 25), (55, 65), (70, 80)]
    assert [(s.start_ns, s.end_ns) for s in timeline.of_device(1)] == [(15, 25), (30, 40), (40, 50), (55, 65)]


@settings(max_examples=examples(40), deadline=None)
@given(schedules, blocking, st.integers(0, 500))
def test_a_repaired_plan_finishes_and_waiting_never_helps(schedule: Schedule, how: Semantics, latency: int) -> None:
    profile = Profile.uniform(forward=100, backward=200, p2p=latency)
    free = simulate(schedule, profile).timeline.end_ns
    assert simulate(schedule, profile, semantics=how).timeline.end_ns >= free


@settings(max_examples=examples(60), deadline=None)
@given(schedules, blocking, st.sampled_from(["early", "late"]))
def test_the_engine_and_the_checker_agree_on_deadlocks(schedule: Schedule, how: Semantics, receives: str) -> None:
    plan = lower(schedule, receives=receives)  # type: ignore[arg-type]
    try:
        check_plan(plan, how)
    except DeadlockError:
        with pytest.raises(DeadlockError):
            simulate(plan, Profile.uniform(forward=100, backward=200, p2p=7), semantics=how)
    else:
        simulate(plan, Profile.uniform(forward=100, backward=200, p2p=7), semantics=how)


def test_a_send_that_nobody_receives_in_time_is_named() -> None:
    plan = lower(build("dapple", stages=2, microbatches=4))
    row = plan.actions[1]
    crossed = (plan.actions[0], (*row[1:3], row[0], *row[3:]))
    with pytest.raises(DeadlockError, match=r"device 1, position 0: 1F0 waits for 1RECV_F0|to receive it"):
        simulate(replace(plan, actions=crossed), Profile.uniform(), semantics="rendezvous")


def test_the_compiled_engine_refuses() -> None:
    schedule = build("dapple", stages=2, microbatches=2)
    with pytest.raises(InputError, match="rendezvous"):
        simulate(schedule, Profile.uniform(), semantics="rendezvous", engine="compiled")
    assert simulate(schedule, Profile.uniform(), semantics="batched", engine="auto").engine == "simpy"
