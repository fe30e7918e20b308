"""Deadlock by semantics: small plans whose fate is known, and the repair that makes plans safe."""

from collections import defaultdict
from dataclasses import replace
from itertools import product

import pytest

from pipeline.actions import RECEIVES, SENDS, Action, Kind, parse_action
from pipeline.checks import check_plan
from pipeline.dependencies import peer_of
from pipeline.errors import DeadlockError, InputError, ScheduleError
from pipeline.lowering import lower
from pipeline.schedule import Plan, Schedule
from pipeline.schedules import build, catalogue
from pipeline.soundness.repair import rendezvous_safe


def plan_of(
    *rows: str,
    placement: tuple[tuple[int, ...], ...] | None = None,
    order: tuple[int, ...] | None = None,
    **fields: object,
) -> Plan:
    """A plan written as text; its order, unless given, is device by device as far as each can get."""
    actions = tuple(tuple(map(parse_action, row.split())) for row in rows)
    computed = tuple(tuple(action for action in row if action.is_compute) for row in actions)
    parts = [part for row in computed for action in row for part in action.parts]
    stages, microbatches = 1 + max(part.stage for part in parts), 1 + max(part.microbatch for part in parts)
    schedule = Schedule(
        name="by hand",
        stages=stages,
        devices=len(rows),
        microbatches=microbatches,
        placement=placement or (tuple(range(stages)),),
        replica_of=tuple(fields.pop("replica_of", (0,) * microbatches)),  # type: ignore[arg-type]
        actions=computed,
    )
    plan = Plan(schedule, actions, order or ())
    return plan if order is not None else replace(plan, order=greedy_order(plan))


def greedy_order(plan: Plan) -> tuple[int, ...]:
    """Device by device while sends come before what consumes them; stops where nobody can go on."""
    sent: set[str] = set()
    position = [0] * len(plan.actions)
    order: list[int] = []
    moved = True
    while moved:
        moved = False
        for device, row in enumerate(plan.actions):
            while position[device] < len(row):
                action = row[position[device]]
                needs = [f"{p.stage - 1}SEND_F{p.microbatch}" for p in action.parts if p.kind == "F" and p.stage]
                needs += [
                    f"{p.stage + 1}SEND_B{p.microbatch}"
                    for p in action.parts
                    if p.kind in ("B", "I") and p.stage < plan.schedule.stages - 1
                ]
                held = plan.schedule.held_by(device)
                needs = [need for need in needs if (0, int(need.split("S")[0])) not in held]
                if not sent.issuperset(needs):
                    break
                sent.add(str(action))
                position[device] += 1
                order.append(device)
                moved = True
    return tuple(order)


def fate(plan: Plan, semantics: str) -> str:
    try:
        check_plan(plan, semantics)  # type: ignore[arg-type]
    except DeadlockError:
        return "deadlock"
    return "runs"


def fates(plan: Plan) -> tuple[str, str, str]:
    return fate(plan, "buffered"), fate(plan, "rendezvous"), fate(plan, "batched")


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


def everything() -> list[object]:
    cases = []
    for item, devices, microbatches in product(catalogue(), (2, 3, 4), (4, 8)):
        try:
            schedule = build(item.name, stages=devices, microbatches=microbatches)
        except InputError:
            continue
        cases.append(pytest.param(schedule, id=f"{item.name}-{devices}-{microbatches}"))
    return cases


@pytest.mark.parametrize("receives", ["early", "late"])
@pytest.mark.parametrize("schedule", everything())
def test_every_schedule_can_be_made_safe(schedule: Schedule, receives: str) -> None:
    plan = lower(schedule, receives=receives)  # type: ignore[arg-type]
    safe = rendezvous_safe(plan)
    assert fates(safe) == ("runs", "runs", "runs")
    for before, after in zip(plan.actions, safe.actions, strict=True):
        assert [a for a in before if a.kind not in RECEIVES] == [a for a in after if a.kind not in RECEIVES]
        assert sorted(a for a in before if a.kind in RECEIVES) == sorted(a for a in after if a.kind in RECEIVES)  # type: ignore[type-var]


@pytest.mark.parametrize("schedule", everything())
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


SOUND = ("0F0 0SEND_F0 0RECV_B0 0B0 0STEP", "1RECV_F0 1F0 1B0 1SEND_B0 1STEP")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (("0SEND_F0 0F0 0RECV_B0 0B0", SOUND[1]), "sends what has not been computed"),
        (("0F0 0SEND_F0 0SEND_F0 0RECV_B0 0B0", SOUND[1]), "sends what has not been computed"),
        (("0F0 0SEND_F0 0B0", SOUND[1]), "0RECV_B0 is not posted before it"),
        (("0F0 0SEND_F0 0B0 0RECV_B0", SOUND[1]), "0RECV_B0 is not posted before it"),
        (("0F0 0RECV_B0 0B0", SOUND[1]), "waits for 0SEND_F0 on device 0"),
        (("0F0 0SEND_F0 0RECV_B0 0RECV_B0 0B0", SOUND[1]), "is posted twice"),
        (("0F0 0SEND_F0 0RECV_B0 0B0 0RECV_F0", SOUND[1]), "cross the end of the pipeline"),
        (("0F0 0SEND_F0 0RECV_B0 0B0 7RECV_F0", SOUND[1]), "out of range"),
    ],
)
def test_malformed_plans_are_refused(rows: tuple[str, ...], says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        check_plan(plan_of(*rows))


def test_a_message_nobody_receives_is_refused() -> None:
    plan = plan_of("0F0 0SEND_F0 0RECV_B0 0B0", "1RECV_F0 1F0 1B0 1SEND_B0")
    silent = replace(plan, actions=(plan.actions[0], plan.actions[1][:-1]), order=())
    with pytest.raises(ScheduleError, match="which has ended"):
        check_plan(silent)
    with pytest.raises(ScheduleError, match="no counterpart"):
        forward_only = plan_of("0F0 0SEND_F0", "1F0", placement=((0, 1),))
        check_plan(
            replace(
                forward_only,
                actions=(forward_only.actions[0], ()),
                schedule=replace(forward_only.schedule, actions=(forward_only.schedule.actions[0], ())),
            )
        )


def test_receives_in_another_order_than_the_sends_are_refused() -> None:
    plan = plan_of("0F0 0SEND_F0 0F1 0SEND_F1", "1RECV_F1 1RECV_F0 1F0 1F1")
    with pytest.raises(ScheduleError, match=r"1RECV_F1: receives 0SEND_F0 of device 0 \(position 1\)") as caught:
        check_plan(plan)
    assert (caught.value.device, caught.value.position) == (1, 0)


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


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("0F0 0REDUCE_GRAD 0B0 0STEP", "0B0: follows 0REDUCE_GRAD"),
        ("0F0 0STEP 0B0 0REDUCE_GRAD", "0STEP: changes weights before their gradients are all-reduced"),
        ("0F0 0B0 0REDUCE_GRAD 0REDUCE_GRAD 0STEP", "0REDUCE_GRAD: follows 0REDUCE_GRAD"),
        ("0F0 0B0 0REDUCE_GRAD 0STEP 0STEP", "0STEP: follows 0STEP"),
        ("0F0 0B0 0REDUCE_GRAD 0STEP 0REDUCE_GRAD", "0REDUCE_GRAD: follows 0STEP"),
        ("0F0 0B0 0REDUCE_GRAD 0STEP 1STEP", "1STEP: is about a stage the device does not hold"),
    ],
)
def test_weights_change_once_and_last(row: str, says: str) -> None:
    order = (0,) * 4 + (1,) * 4 + (0,)
    plan = plan_of(row, "0F1 0B1 0REDUCE_GRAD 0STEP", placement=((0,), (1,)), replica_of=(0, 1), order=order)
    with pytest.raises(ScheduleError, match=says):
        check_plan(plan)


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ((1, 0), "before what it waits for"),
        ((0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0), "more actions on device 0"),
        ((0, 0, 0), "missing in the global order"),
        ((2,), "device 2"),
    ],
)
def test_a_wrong_global_order_is_refused(order: tuple[int, ...], says: str) -> None:
    plan = plan_of(*SOUND)
    prefix = (1,) if order[0] == 1 else ()
    with pytest.raises(ScheduleError, match=says):
        check_plan(replace(plan, order=prefix + order))


def test_unknown_semantics() -> None:
    with pytest.raises(InputError, match="semantics='hopeful'"):
        check_plan(plan_of(*SOUND), "hopeful")  # type: ignore[arg-type]
