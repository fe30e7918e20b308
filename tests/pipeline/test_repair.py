"""The repair that makes plans safe for transports whose sends wait for their receives."""

from collections import defaultdict
from typing import Any

import pytest

from chimera.pipeline.actions import RECEIVES, SENDS, Action, Kind
from chimera.pipeline.errors import DeadlockError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.rules import peer_of
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from tests.pipeline.by_hand import everything, fates, plan_of


@pytest.mark.parametrize("receives", ["early", "late"])
@pytest.mark.parametrize("schedule", everything((2, 3, 4)))
def test_every_schedule_can_be_made_safe(schedule: Schedule, receives: Any) -> None:
    plan = lower(schedule, receives=receives)
    safe = rendezvous_safe(plan)
    assert fates(safe) == ("runs", "runs", "runs")
    for before, after in zip(plan.actions, safe.actions, strict=True):
        assert [a for a in before if a.kind not in RECEIVES] == [a for a in after if a.kind not in RECEIVES]
        assert sorted(a for a in before if a.kind in RECEIVES) == sorted(a for a in after if a.kind in RECEIVES)


@pytest.mark.parametrize("schedule", everything((2, 3, 4)))
def test_both_ends_of_a_repaired_plan_see_their_messages_in_one_order(schedule: Schedule) -> None:
    """Both directions of a pair together: the criterion that makes rendezvous safe."""
    safe = rendezvous_safe(lower(schedule))
    seen: dict[tuple[int, int], list[str]] = defaultdict(list)
    for device, row in enumerate(safe.actions):
        for action in row:
            if action.kind in SENDS | RECEIVES:
                assert isinstance(action, Action)
                peer = peer_of(action, schedule)
                upwards = action.kind in (Kind.SEND_F, Kind.RECV_B)
                link = min(action.stage, action.stage + (1 if upwards else -1))
                seen[device, peer].append(f"{link}{action.kind.value[-1]}{action.microbatches}{action.half}")
    for (device, peer), messages in seen.items():
        assert messages == seen[peer, device]


def test_the_repair_of_1f1b_obeys_the_parity_rule_in_its_steady_state() -> None:
    """Between its first and last backward the lower of two neighbours receives before it sends."""
    safe = rendezvous_safe(lower(build("dapple", stages=4, microbatches=8)))
    assert "0RECV_B1 0SEND_F4 0B1 0F5 0RECV_B2 0SEND_F5" in " ".join(map(str, safe.actions[0]))


def test_an_unsound_schedule_cannot_be_made_safe() -> None:
    plan = plan_of(
        "0F0 0SEND_F0 0RECV_B0 0B0 0F1 0SEND_F1 0RECV_B1 0B1", "1RECV_F0 1F0 1RECV_F1 1F1 1B0 1SEND_B0 1B1 1SEND_B1"
    )
    with pytest.raises(DeadlockError) as caught:
        rendezvous_safe(plan)
    assert caught.value.cycle == ((0, 1), (1, 0))
