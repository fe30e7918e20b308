"""Deadlock by semantics: small plans whose fate is known."""

from dataclasses import replace
from itertools import product

import pytest

from chimera.pipeline.errors import DeadlockError, ScheduleError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.schedule import Plan
from chimera.pipeline.schedules import build
from chimera.pipeline.soundness.check import check_plan
from tests.pipeline.by_hand import fates, plan_of

# Two ranks that exchange the output of stage 0 / micro-batch 1 against the gradient of micro-batch 0.
HEAD = ("0F0 0SEND_F0 0F1", "1RECV_F0 1F0 1B0")
TAIL = ("0B0 0RECV_B1 0B1", "1F1 1B1 1SEND_B1")


def exchange(zero: str, one: str) -> Plan:
    return plan_of(f"{HEAD[0]} {zero} {TAIL[0]}", f"{HEAD[1]} {one} {TAIL[1]}")


def test_both_send_first() -> None:
    """The textbook case: fine while sends are buffered, stuck when a send waits for its receive."""
    assert fates(exchange("0SEND_F1 0RECV_B0", "1SEND_B0 1RECV_F1")) == ("runs", "deadlock", "runs")


def test_both_receive_first() -> None:
    """A blocking receive on both sides; a posted one does no harm."""
    assert fates(exchange("0RECV_B0 0SEND_F1", "1RECV_F1 1SEND_B0")) == ("runs", "deadlock", "runs")


def test_one_sends_while_the_other_receives() -> None:
    """torch's parity rule: towards a higher rank RECV before SEND, towards a lower one SEND before RECV."""
    assert fates(exchange("0RECV_B0 0SEND_F1", "1SEND_B0 1RECV_F1")) == ("runs", "runs", "runs")


def test_a_group_is_broken_by_anything_between() -> None:
    """A computation between SEND and RECV separates them, so nothing is issued together any more."""
    plan = plan_of(
        "0F0 0SEND_F0 0F1 0SEND_F1 0F2 0RECV_B0 0SEND_F2 0B0 0RECV_B1 0B1 0RECV_B2 0B2",
        "1RECV_F0 1F0 1I0 1SEND_B0 1W0 1RECV_F1 1F1 1RECV_F2 1B1 1SEND_B1 1F2 1B2 1SEND_B2",
    )
    assert fates(plan) == ("runs", "deadlock", "deadlock")


def test_the_cycle_names_ranks_actions_and_positions() -> None:
    with pytest.raises(DeadlockError) as caught:
        check_plan(exchange("0SEND_F1 0RECV_B0", "1SEND_B0 1RECV_F1"), "rendezvous")
    error = caught.value
    assert error.cycle == ((0, 1), (1, 0))
    assert "device 0 at 0SEND_F1 (position 3) waits for 1RECV_F1 on device 1" in str(error)
    assert "device 1 at 1SEND_B0 (position 3) waits for 0RECV_B0 on device 0" in str(error)


def test_1f1b_as_it_is_written_naively() -> None:
    """Every neighbour pair exchanges F and B in its steady state and both send first: Megatron therefore batches."""
    assert fates(lower(build("dapple", stages=4, microbatches=8), receives="late")) == ("runs", "deadlock", "runs")


def test_gpipe_with_late_receives_never_crosses_messages() -> None:
    """All messages go down, then all go up: nothing ever waits in a circle."""
    for order in product((2, 4), (2, 8)):
        plan = lower(build("gpipe", stages=order[0], microbatches=order[1]), receives="late")
        assert fates(plan) == ("runs", "runs", "runs")


def test_early_receives_deadlock_where_a_receive_blocks() -> None:
    """1F1B's early receive stands before the action whose result the peer needs first."""
    assert fates(lower(build("dapple", stages=2, microbatches=4), receives="early")) == ("runs", "deadlock", "deadlock")


def test_two_devices_of_chimera_share_one_pair_in_both_directions() -> None:
    """D = 2: the previous rank is also the next one; with both pipelines both ranks always send first."""
    plan = lower(build("chimera", stages=2, microbatches=2), receives="late")
    assert fates(plan)[:2] == ("runs", "deadlock")
    assert fates(rendezvous_safe(plan)) == ("runs", "runs", "runs")


RING = (
    "0F0 0SEND_F0 3RECV_F0 3F0 3B0 3SEND_B0 0RECV_B0 0B0",
    "1RECV_F0 1F0 1SEND_F0 1RECV_B0 1B0 1SEND_B0",
    "2RECV_F0 2F0 2SEND_F0 2RECV_B0 2B0 2SEND_B0",
)


def test_a_ring_of_three_that_sends_in_turn() -> None:
    assert fates(plan_of(*RING, placement=((0, 1, 2, 0),))) == ("runs", "runs", "runs")


def test_parity_alone_does_not_break_a_ring() -> None:
    """Interleaved forwards on three devices: each sends to the next rank and receives from the previous.

    Rank 2 sends 2F0 to rank 0, which sends 0F2 to rank 1, which sends 1F1 to rank 2: torch's rule
    orders SEND and RECV of one peer only, and here no device sends to a peer it receives from.
    """
    rows = [" ".join([f"{first}F{m}" for m in range(4)] + [f"{first + 3}F{m}" for m in range(4)]) for first in range(3)]
    plan = plan_of(*rows, placement=((0, 1, 2, 0, 1, 2),))
    ring = lower(plan.schedule, receives="late")
    assert fates(ring) == ("runs", "deadlock", "deadlock")
    with pytest.raises(DeadlockError) as caught:
        check_plan(ring, "rendezvous")
    assert caught.value.cycle == ((0, 1), (1, 2), (2, 0))
    assert fates(rendezvous_safe(ring)) == ("runs", "runs", "runs")


def test_all_reduces_launched_in_another_order_deadlock_where_they_run_in_turn() -> None:
    """Two stages held by the same two devices: NCCL runs one after the other, gloo both at once."""
    rows = (
        "0F0 1F0 1B0 0B0 0REDUCE_GRAD 1REDUCE_GRAD 0STEP 1STEP",
        "0F1 1F1 1B1 0B1 1REDUCE_GRAD 0REDUCE_GRAD 0STEP 1STEP",
    )
    order = (0,) * 6 + (1,) * 8 + (0,) * 2
    plan = plan_of(*rows, placement=((0, 0), (1, 1)), replica_of=(0, 1), order=order)
    assert fates(plan) == ("runs", "deadlock", "deadlock")
    with pytest.raises(DeadlockError, match="waits for the all-reduce of stage"):
        check_plan(plan, "rendezvous")
    one_sided = replace(plan, actions=(plan.actions[0], plan.actions[1][:4]))
    with pytest.raises(ScheduleError, match="waits for the all-reduce of stage 0 on device 1, which has ended"):
        check_plan(one_sided)
