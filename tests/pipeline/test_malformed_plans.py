"""Plans that no interpreter could follow are refused, each with its reason."""

from dataclasses import replace

import pytest

from chimera.pipeline.errors import InputError, ScheduleError
from chimera.pipeline.soundness.check import check_plan
from tests.pipeline.by_hand import plan_of

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
