"""What both worlds agree on: contexts, pairs of messages, batches, split backwards against their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given

from chimera.pipeline.actions import SENDS, Action, Kind, Step, parse_action
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.rules import batch_end, context_of, messages_from, receive_of, split_backwards
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from tests.strategies import schedules


@pytest.mark.parametrize(
    ("previous", "action", "context"),
    [
        ("1B0", "1F2", "after-backward"),
        ("1W0", "1F2", "after-backward"),
        ("1I0", "1F2", "fresh"),  # the activations are kept for the W
        ("1F1", "1F2", "fresh"),
        ("(1F1;1B0)OVERLAP_F_B", "1F2", "after-backward"),  # the backward of the pair comes last
        ("(1F1;1I0)OVERLAP_F_B", "1F2", "fresh"),
        ("3F2", "3B2", "own-forward"),
        ("3F2", "3I2", "own-forward"),
        ("3F2", "3B2.0", "own-forward"),  # half of the activations that were just made
        ("3B2.0", "3B2.1", "fresh"),
        ("3F2+3", "3B2", "own-forward"),
        ("3F2+3", "3B3", "own-forward"),
        ("3F2", "2B2", "fresh"),  # of another stage
        ("(3F2;3B1)OVERLAP_F_B", "3B2", "fresh"),  # a backward stood between
        ("1I2", "1W2", "fresh"),
        ("1I2", "1W1", "after-another"),
        ("1W1", "1W2", "fresh"),
        ("1F3", "1W2", "after-another"),
        ("(1F3;1I2)OVERLAP_F_B", "1W2", "fresh"),
        ("(1F3;1I2)OVERLAP_F_B", "1W1", "after-another"),
        ("1B0", "(1F1;1B0)OVERLAP_F_B", "fresh"),
    ],
)
def test_contexts_by_hand(previous: str, action: str, context: str) -> None:
    assert context_of(parse_action(action), parse_action(previous)) == context


@pytest.mark.parametrize("action", ["1F0", "1B0", "1W0"])
def test_nothing_before_is_fresh(action: str) -> None:
    assert context_of(parse_action(action), None) == "fresh"


@given(schedules(max_stages=6, max_microbatches=8))
def test_a_send_is_received_as_its_message_says(schedule: Schedule) -> None:
    """`receive_of` against the message that the computation before it leaves, for every send of a plan."""
    for row in schedule.actions:
        for part in (part for action in row for part in action.parts if part.kind is not Kind.W):
            message = messages_from(part, schedule)
            assert message is None or receive_of(message.send) == message.receive
    sent = {receive_of(a) for row in lower(schedule).actions for a in row if isinstance(a, Action) and a.kind in SENDS}
    posted = {action for row in lower(schedule).actions for action in row if action.kind in (Kind.RECV_F, Kind.RECV_B)}
    assert sent == posted


def test_a_batch_ends_where_its_channel_does() -> None:
    channels = [None, "a", "a", "b", "b", "b", None, "b"]
    assert [batch_end(place, len(channels), channels.__getitem__) for place in (1, 2, 3, 5, 7)] == [3, 3, 6, 6, 8]


def test_split_backwards_are_those_with_a_weight_gradient_of_their_own() -> None:
    assert not split_backwards(build("dapple", stages=4, microbatches=8))
    every = {(stage, microbatch, -1) for stage in range(3) for microbatch in range(4)}
    assert split_backwards(build("zb-h1", stages=3, microbatches=4)) == every
    dualpipe = build("dualpipe", stages=4, microbatches=8)
    some = {key[:2] for key in split_backwards(dualpipe)}
    whole = {_key(action) for row in dualpipe.actions for action in row if action.kind is Kind.B}
    assert some and whole and not some & whole


def _key(action: Step) -> tuple[int, int]:
    (part,) = action.parts
    return part.stage, part.microbatch
