"""Lowering: which messages there are, where receives are posted, where all-reduces and steps stand."""

import time
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import product

import pytest

from chimera.pipeline.actions import COMMUNICATION, RECEIVES, SENDS, Action, Kind, Overlap
from chimera.pipeline.errors import DeadlockError, InputError, ScheduleError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.soundness.check import check_plan
from tests.pipeline.by_hand import everything, schedule_of


def text(row: tuple[object, ...]) -> str:
    return " ".join(map(str, row))


def collectives(row: tuple[object, ...], *stages: int) -> str:
    """The row without messages, and with all-reduces of the given stages only."""
    kept = [action for action in row if action.kind not in COMMUNICATION]  # type: ignore[attr-defined]
    return text(tuple(a for a in kept if a.kind is not Kind.REDUCE_GRAD or a.stage in stages))  # type: ignore[attr-defined]


ONE_F_ONE_B = ("0F0 0F1 0B0 0B1", "1F0 1B0 1F1 1B1")


def test_late_receives_stand_right_before_their_consumers() -> None:
    plan = lower(schedule_of(*ONE_F_ONE_B), receives="late")
    assert text(plan.actions[0]) == "0F0 0SEND_F0 0F1 0SEND_F1 0RECV_B0 0B0 0RECV_B1 0B1 0STEP"
    assert text(plan.actions[1]) == "1RECV_F0 1F0 1B0 1SEND_B0 1RECV_F1 1F1 1B1 1SEND_B1 1STEP"


def test_early_receives_stand_before_the_action_that_precedes_the_consumer() -> None:
    plan = lower(schedule_of(*ONE_F_ONE_B), receives="early")
    assert text(plan.actions[0]) == "0F0 0SEND_F0 0RECV_B0 0F1 0SEND_F1 0RECV_B1 0B0 0B1 0STEP"
    assert text(plan.actions[1]) == "1RECV_F0 1F0 1RECV_F1 1B0 1SEND_B0 1F1 1B1 1SEND_B1 1STEP"


def test_receives_follow_the_order_of_the_sends_where_consumers_want_another() -> None:
    """GPipe whose stage 1 works on the micro-batches in the opposite order: NCCL would hand it the wrong one."""
    plan = lower(schedule_of("0F0 0F1 0B1 0B0", "1F1 1F0 1B1 1B0"), receives="late")
    assert text(plan.actions[1]) == "1RECV_F0 1RECV_F1 1F1 1F0 1B1 1SEND_B1 1B0 1SEND_B0 1STEP"


def test_forward_and_backward_messages_of_one_pair_share_its_queue() -> None:
    """Two devices in a V: stage 0 -> 1 and the gradient of stage 3 -> 2 both go from device 0 to 1."""
    schedule = schedule_of(
        "0F0 0F1 3F0 3B0 3F1 3B1 0B0 0B1", "1F0 2F0 1F1 2F1 2B0 1B0 2B1 1B1", placement=((0, 1, 1, 0),)
    )
    plan = lower(schedule)
    assert "2SEND_F0" in text(plan.actions[1]) and "1SEND_F0" not in text(plan.actions[1])
    sent = [str(action).replace("SEND", "") for action in plan.actions[0] if action.kind in SENDS]
    received = [str(action).replace("RECV", "") for action in plan.actions[1] if action.kind in RECEIVES]
    assert sent == ["0_F0", "0_F1", "3_B0", "3_B1"]
    assert received == ["1_F0", "1_F1", "2_B0", "2_B1"]


def test_a_doubled_forward_is_one_message_and_a_half_backward_is_one_each() -> None:
    doubled = schedule_of("0F0+1 0B0 0B1", "1F0+1 1B0 1B1")
    assert text(lower(doubled, receives="late").actions[1]).startswith("1RECV_F0+1 1F0+1 1B0 1SEND_B0")
    halved = schedule_of("0F0 0B0.0 0B0.1", "1F0 1B0.0 1B0.1")
    assert text(lower(halved, receives="late").actions[0]) == "0F0 0SEND_F0 0RECV_B0.0 0B0.0 0RECV_B0.1 0B0.1 0STEP"


def test_an_overlapped_pair_sends_its_forward_then_its_backward() -> None:
    schedule = schedule_of("0F0 0F1 0B0 0B1", "1F0 (1F1;1B0)OVERLAP_F_B 1B1", "2F0 2B0 2F1 2B1")
    row = lower(schedule, receives="late").actions[1]
    at = row.index(Overlap(Action(1, Kind.F, 1), Action(1, Kind.B, 0)))
    assert text(row[at - 2 : at + 3]) == "1RECV_F1 1RECV_B0 (1F1;1B0)OVERLAP_F_B 1SEND_F1 1SEND_B0"


@pytest.mark.parametrize("receives", ["early", "late"])
@pytest.mark.parametrize("schedule", everything())
def test_every_message_is_sent_and_received_once_and_in_order(schedule: Schedule, receives: str) -> None:
    plan = lower(schedule, receives=receives)  # type: ignore[arg-type]
    sent, received = messages_by_pair(plan, SENDS), messages_by_pair(plan, RECEIVES)
    assert {pair: [as_receive(action) for action in actions] for pair, actions in sent.items()} == received
    for row, computed in zip(plan.actions, schedule.actions, strict=True):
        assert tuple(action for action in row if action.is_compute) == computed
    # A chain of D stages has one message a micro-batch and hop in each direction, unless it stays on its device.
    pieces = Counter(pieces_of(action) for row in schedule.actions for action in row for action in action.parts)
    crossing = sum(
        count
        for (stage, towards, microbatch, *_), count in pieces.items()
        if 0 <= stage + towards < schedule.stages
        and schedule.device_of(stage, microbatch) != schedule.device_of(stage + towards, microbatch)
    )
    assert sum(map(len, sent.values())) == crossing


def pieces_of(action: Action) -> tuple[int, ...]:
    """(stage, where its result goes, micro-batch, other micro-batch, half); W's result goes nowhere."""
    towards = {Kind.F: 1, Kind.B: -1, Kind.I: -1}.get(action.kind, 10**6)
    return (action.stage, towards, action.microbatch, action.also, action.half)


def as_receive(send: Action) -> Action:
    if send.kind is Kind.SEND_F:
        return send._replace(stage=send.stage + 1, kind=Kind.RECV_F)
    return send._replace(stage=send.stage - 1, kind=Kind.RECV_B)


def messages_by_pair(plan: Plan, kinds: frozenset[Kind]) -> dict[tuple[int, int], list[Action]]:
    """The messages of each (source, target) in the order they stand in one end's row."""
    pairs = defaultdict(list)
    for device, row in enumerate(plan.actions):
        for action in row:
            if action.kind in kinds:
                assert isinstance(action, Action)
                towards = 1 if action.kind in (Kind.SEND_F, Kind.RECV_B) else -1
                peer = plan.schedule.device_of(action.stage + towards, action.microbatch)
                pairs[(device, peer) if kinds is SENDS else (peer, device)].append(action)
    return dict(pairs)


@pytest.mark.parametrize("receives", ["early", "late"])
@pytest.mark.parametrize("schedule", everything())
def test_the_plan_runs_and_its_order_is_a_linear_extension(schedule: Schedule, receives: str) -> None:
    plan = lower(schedule, receives=receives)  # type: ignore[arg-type]
    check_plan(plan, "buffered")
    assert Counter(plan.order) == Counter({device: len(row) for device, row in enumerate(plan.actions) if row})
    sent: set[Action] = set()
    position = [0] * schedule.devices
    for device in plan.order:
        action = plan.actions[device][position[device]]
        position[device] += 1
        if action.kind in SENDS:
            assert isinstance(action, Action)
            sent.add(as_receive(action))
        for part in action.parts:
            neighbour = part.stage - 1 if part.kind is Kind.F else part.stage + 1
            crosses = part.kind in (Kind.F, Kind.B, Kind.I) and 0 <= neighbour < schedule.stages
            if crosses and schedule.device_of(neighbour, part.microbatch) != device:
                assert part._replace(kind=Kind.RECV_F if part.kind is Kind.F else Kind.RECV_B) in sent


@pytest.mark.parametrize("depth", [4, 6, 8])
def test_eager_opt_leaves_out_the_stages_whose_worker_has_no_bubble_left(depth: int) -> None:
    """Chimera paper, section 3.2: worker w < D/2 has D/2-1-w bubble slots after its first finished stage, D-1-w."""
    plan = lower(build("chimera", stages=depth, microbatches=depth, sync="eager-opt"))
    for worker in range(depth // 2):
        stage = depth - 1 - worker
        row = [action for action in plan.actions[worker] if action.kind not in COMMUNICATION]
        launched = row.index(Action(stage, Kind.REDUCE_GRAD))
        computed_after = any(action.is_compute for action in row[launched:])
        assert computed_after == (depth // 2 - 1 - worker > 0)


def test_end_launches_after_all_compute_and_eager_after_the_last_backward_of_the_stage() -> None:
    chimera = replace(build("chimera", stages=4, microbatches=4), sync="end")
    assert collectives(lower(chimera).actions[0], 0, 3).endswith("0B0 0B1 0REDUCE_GRAD 3REDUCE_GRAD 0STEP 3STEP")
    eager = replace(chimera, sync="eager")
    assert "3B3 3REDUCE_GRAD 0B0 0B1 0REDUCE_GRAD 0STEP" in collectives(lower(eager).actions[0], 0, 3)


@pytest.mark.parametrize("sync", ["end", "eager", "eager-opt"])
@pytest.mark.parametrize("schedule", everything())
def test_all_devices_launch_the_all_reduces_they_share_in_the_same_order(schedule: Schedule, sync: str) -> None:
    if schedule.update == "pipedream":
        pytest.skip("one optimizer step a micro-batch: nothing is shared")
    plan = lower(replace(schedule, sync=sync), width=2)  # type: ignore[arg-type]
    launched = [[a.stage for a in row if a.kind is Kind.REDUCE_GRAD] for row in plan.actions]  # type: ignore[union-attr]
    for device, stages in enumerate(launched):
        assert sorted(stages) == list(schedule.stages_on(device))
    for one, other in product(launched, launched):
        assert [s for s in one if s in other] == [s for s in other if s in one]
    for row in plan.actions:
        done: set[int] = set()
        for action in row:
            if action.kind is Kind.REDUCE_GRAD:
                assert isinstance(action, Action)
                done.add(action.stage)
            assert not any(part.kind in "BW" and part.stage in done for part in action.parts)


def test_one_holder_reduces_only_with_other_copies_of_the_pipeline() -> None:
    schedule = schedule_of(*ONE_F_ONE_B)
    assert "REDUCE" not in text(lower(schedule).actions[0])
    assert text(lower(schedule, width=2).actions[0]).endswith("0B1 0REDUCE_GRAD 0STEP")


def test_a_device_with_one_stage_in_two_replicas_steps_it_once_and_reduces_nothing() -> None:
    schedule = schedule_of("0F0 0F1 0B0 0B1", placement=((0,), (0,)), replica_of=(0, 1))
    assert text(lower(schedule).actions[0]) == "0F0 0F1 0B0 0B1 0STEP"


def test_a_holder_without_work_takes_part_in_the_all_reduce() -> None:
    """One micro-batch through two replicas: device 1 has no gradient of its own, yet must keep the same weights."""
    plan = lower(schedule_of("0F0 0B0", "", placement=((0,), (1,)), replica_of=(0,)))
    assert text(plan.actions[1]) == "0REDUCE_GRAD 0STEP"
    check_plan(plan, "rendezvous")


def test_pipedream_steps_after_every_backward() -> None:
    plan = lower(replace(schedule_of(*ONE_F_ONE_B), update="pipedream"), receives="late")
    assert text(plan.actions[1]) == "1RECV_F0 1F0 1B0 1SEND_B0 1STEP 1RECV_F1 1F1 1B1 1SEND_B1 1STEP"
    with pytest.raises(ScheduleError, match="drift apart"):
        lower(replace(build("chimera", stages=2, microbatches=2), update="pipedream"))


def test_a_circle_and_a_mismatch_are_refused() -> None:
    with pytest.raises(DeadlockError):
        lower(schedule_of("0F0 0B0 0F1 0B1", "1F0 1F1 1B0 1B1"))
    with pytest.raises(ScheduleError, match="grouping"):
        lower(schedule_of("0F0+1 0B0 0B1", "1F0 1F1 1B0 1B1"))
    with pytest.raises(InputError, match="receives"):
        lower(schedule_of(*ONE_F_ONE_B), receives="sometimes")  # type: ignore[arg-type]


def test_lowering_is_linear_and_takes_microseconds_an_action() -> None:
    """Aim: 2-4 us an emitted action; the bound leaves room for a busy machine."""
    schedule = build("dapple", stages=32, microbatches=128)
    started = time.process_time()
    plan = lower(schedule)
    assert time.process_time() - started < 20e-6 * sum(map(len, plan.actions))
