"""Head-of-line blocking: a receive at the head of a communication stream holds up what is posted behind it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.actions import Step, parse_action
from chimera.pipeline.errors import DeadlockError
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from tests.sizes import examples
from tests.strategies import schedules


def plan(*rows: str) -> Plan:
    """Three stages on devices 0, 1, 0; forwards only."""
    actions: tuple[tuple[Step, ...], ...] = tuple(tuple(map(parse_action, row.split())) for row in rows)
    computed = tuple(tuple(action for action in row if action.is_compute) for row in actions)
    return Plan(Schedule("custom", 3, 2, 2, ((0, 1, 0),), (0, 0), computed), actions, ())


EARLY = plan(
    "0F0 0SEND_F0 2RECV_F0 0F1 0SEND_F1 2F0 2RECV_F1 2F1",
    "1RECV_F0 1F0 1SEND_F0 1RECV_F1 1F1 1SEND_F1",
)
LATE = plan(
    "0F0 0SEND_F0 0F1 0SEND_F1 2RECV_F0 2RECV_F1 2F0 2F1",
    "1RECV_F0 1RECV_F1 1F0 1SEND_F0 1F1 1SEND_F1",
)
PROFILE = Profile.uniform(forward=15, backward=30, p2p=5)
"""three stages on two devices: each takes two thirds, F = 10 and B = 20"""


def test_a_receive_posted_early_holds_up_a_send_that_is_ready() -> None:
    """F = 10, messages 5. The second activation is ready at 20, behind the receive of what comes at 30.

    0F0 0-10, 1F0 15-25, its result crosses 25-30; only then the second activation, 30-35; 1F1 35-45, 2F1 50-60.
    """
    timeline = simulate(EARLY, PROFILE, semantics="stream").timeline
    sent = {str(transfer.action): transfer for transfer in timeline.transfers}
    assert (sent["1RECV_F1"].sent_ns, sent["1RECV_F1"].arrived_ns) == (20, 35)
    assert timeline.end_ns == 60


def test_deferred_the_receive_holds_up_nothing() -> None:
    """The second activation crosses 20-25: 1F1 25-35, 2F0 30-40, 2F1 40-50."""
    assert simulate(LATE, PROFILE, semantics="stream").timeline.end_ns == 50
    assert {simulate(each, PROFILE).timeline.end_ns for each in (EARLY, LATE)} == {50}  # nothing is ever held up


@pytest.mark.parametrize("latency", [10, 20, 30])
def test_interleaved_loses_time_to_early_receives_and_none_to_late_ones(latency: int) -> None:
    """Eight devices with two chunks each, where torch users met it; a chunk's F = 100, B = 200."""
    schedule = build("interleaved", stages=8, microbatches=16, v=2)
    profile = Profile.uniform(forward=200, backward=400, p2p=latency)
    free = simulate(schedule, profile).timeline.end_ns
    early = simulate(schedule, profile, semantics="stream", receives="early").timeline.end_ns
    late = simulate(schedule, profile, semantics="stream", receives="late").timeline.end_ns
    assert early > 1.02 * free
    assert late == free


def test_messages_that_take_no_time_hold_up_nothing() -> None:
    schedule, profile = build("interleaved", stages=4, microbatches=8), Profile.uniform(forward=100, backward=200)
    assert (
        simulate(schedule, profile, semantics="stream").timeline.end_ns == simulate(schedule, profile).timeline.end_ns
    )


@settings(max_examples=examples(40), deadline=None)
@given(schedules(max_stages=5, max_microbatches=8), st.sampled_from(["early", "late"]), st.integers(0, 500))
def test_every_schedule_finishes_and_streams_never_help(schedule: Schedule, receives: str, latency: int) -> None:
    profile = Profile.uniform(forward=100, backward=200, p2p=latency)
    held = simulate(schedule, profile, semantics="stream", receives=receives)  # type: ignore[arg-type]
    assert held.timeline.end_ns >= simulate(schedule, profile).timeline.end_ns


@settings(max_examples=examples(40), deadline=None)
@given(schedules(max_stages=5, max_microbatches=8), st.integers(1, 500))
def test_a_stream_carries_one_message_at_a_time_in_the_order_of_posting(schedule: Schedule, latency: int) -> None:
    timeline = simulate(schedule, Profile.uniform(forward=100, backward=200, p2p=latency), semantics="stream").timeline
    for device in range(schedule.devices):
        ours = [
            (t.sent_ns if t.source == device else t.posted_ns, t.arrived_ns)
            for t in timeline.transfers
            if device in (t.source, t.target)
        ]
        arrivals = sorted(arrived for _, arrived in ours)
        assert all(later - earlier >= latency for earlier, later in pairwise(arrivals))
        assert [posted for posted, _ in sorted(ours, key=lambda item: item[1])] == sorted(posted for posted, _ in ours)


def test_streams_in_crossed_orders_wait_for_ever() -> None:
    """Device 0 sends its second activation before it takes 1F0's result; device 1 posts them the other way round."""
    crossed = plan(
        "0F0 0SEND_F0 0F1 0SEND_F1 2RECV_F0 2F0 2RECV_F1 2F1",
        "1RECV_F0 1F0 1SEND_F0 1RECV_F1 1F1 1SEND_F1",
    )
    reason = r"2F0 waits for 2RECV_F0 from device 1.*1F1 waits for 1RECV_F1 from device 0"
    with pytest.raises(DeadlockError, match=reason) as caught:
        simulate(crossed, PROFILE, semantics="stream")
    assert "one order on all devices" in caught.value.remedy
