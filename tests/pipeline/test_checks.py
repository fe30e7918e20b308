"""Soundness of schedules: one example for each way to be wrong, and an oracle that just tries."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import pytest

from chimera.pipeline.actions import parse_action
from chimera.pipeline.errors import DeadlockError, InputError, ScheduleError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build, catalogue
from chimera.pipeline.soundness.check import check


def schedule_of(*rows: str, **fields: object) -> Schedule:
    """Two stages on two devices, as many micro-batches as are named, unless fields say otherwise."""
    actions = tuple(tuple(map(parse_action, row.split())) for row in rows)
    parts = [part for row in actions for action in row for part in action.parts]
    microbatches = 1 + max(m for part in parts for m in part.microbatches)
    values: Mapping[str, object] = {
        "name": "by hand",
        "stages": len(rows),
        "devices": len(rows),
        "microbatches": microbatches,
        "placement": (tuple(range(len(rows))),),
        "replica_of": (0,) * microbatches,
        "actions": actions,
        **fields,
    }
    return Schedule(**values)  # type: ignore[arg-type]


def everything() -> Sequence[object]:
    cases = []
    for item, devices, microbatches in product(catalogue(), (2, 4), (2, 4, 8, 9)):
        try:
            cases.append(
                pytest.param(
                    build(item.name, stages=devices, microbatches=microbatches),
                    id=f"{item.name}-{devices}-{microbatches}",
                )
            )
        except InputError:
            continue
    return cases


@pytest.mark.parametrize("schedule", everything())
def test_every_generated_schedule_is_sound(schedule: Schedule) -> None:
    check(schedule)


@pytest.mark.parametrize(
    "rows",
    [
        ("0F0 0B0", "1F0 1B0"),
        ("0F0 0I0 0W0", "1F0 1I0 1W0"),
        ("0F0 0B0", "1F0 1I0 1W0"),
        ("0F0+1 0B0 0B1", "1F0+1 1B1 1B0"),
        ("0F0 0B0.1 0B0.0", "1F0 1B0.0 1B0.1"),
        ("0F0 0I0.0 0W0.0 0B0.1", "1F0 1B0.0 1B0.1"),
        ("0F0 0F1 0B0 0B1", "1F0 (1F1;1B0)OVERLAP_F_B 1B1"),
    ],
)
def test_sound_by_hand(rows: tuple[str, ...]) -> None:
    check(schedule_of(*rows))


@pytest.mark.parametrize(
    ("rows", "device", "position", "says"),
    [
        (("0B0 0F0", "1F0 1B0"), 0, 0, "waits for 0F0, which stands at position 1"),
        (("0F0 0B0", "1B0"), 1, 0, "waits for 1F0, which is nowhere"),
        (("0F0 0B0", "1F0 1W0 1I0"), 1, 1, "waits for 1I0, which stands at position 2"),
        (("0F0 0B0", "1F0 1W0"), 1, 1, "waits for 1I0, which is nowhere"),
        (("0F0 0F0 0B0", "1F0 1B0"), 0, 1, "repeats the work of 0F0 at position 0"),
        (("0F0 0B0 0B0", "1F0 1B0"), 0, 2, "repeats the work of 0B0"),
        (("0F0 0B0 0W0", "1F0 1B0"), 0, 2, "repeats the work of 0B0"),
        (("0F0 0B0.0 0B0", "1F0 1B0.0 1B0.1"), 0, 2, "repeats the work"),
        (("0F0+1 0F1 0B0 0B1", "1F0+1 1B0 1B1"), 0, 1, "repeats the work"),
        (("0F0", "1F0 1B0"), 0, 0, "no complete 0B0 or 0I0"),
        (("0F0 0I0", "1F0 1B0"), 0, 1, "no complete 0B0 or 0W0"),
        (("0F0 0B0.0", "1F0 1B0.0 1B0.1"), 0, 1, "no complete"),
        (("0F0 0B0 0F1 0B1", "1F0 1B0"), 1, 1, "never runs 1F1"),
        (("0F0 0B0 1F0", "1F0 1B0"), 0, 2, "is placed on device 1"),
        (("0F0 0B0", "1F0 1B0 2F0"), 1, 2, "stages are 0..1"),
        (("0F0 0B0", "1F0 0SEND_F0 1B0"), 1, 1, "is not a computation"),
        (("0F0 0F1 0B0 0B1", "1F0 (1F1;1B1)OVERLAP_F_B 1B0"), 1, 1, "needs its own forward first"),
        (("0F0+1 0B0 0B1", "1F0 1F1 1B0 1B1"), 1, 0, "groups otherwise than 0F0+1"),
        (("0F0 0F1 0B0 0B1", "1F0+1 1B0 1B1"), 1, 0, "groups otherwise than 0F0"),
        (("0F0 0B0.0 0B0.1", "1F0 1B0"), 0, 1, "groups otherwise than 1B0"),
        (("0F0 0B0", "1F0 1B0.0 1B0.1"), 0, 1, "groups otherwise than 1B0.0"),
    ],
)
def test_errors_name_device_position_action_and_reason(
    rows: tuple[str, ...], device: int, position: int, says: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        check(schedule_of(*rows))
    assert (caught.value.device, caught.value.position) == (device, position)
    assert f"device {device}" in str(caught.value) and says in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"placement": ()}, "placement is empty"),
        ({"placement": ((0,),)}, "needs 2 devices"),
        ({"placement": ((0, 2),)}, "numbered 0..1"),
        ({"placement": ((0, -1),)}, "numbered 0..1"),
        ({"replica_of": (0, 0)}, "replica_of has 2"),
        ({"replica_of": (1,)}, "replicas are 0..0"),
        ({"devices": 3}, "rows of actions"),
        ({"microbatches": 0}, "at least 1"),
        ({"microbatches": 10**12}, "replica_of has 1"),
        ({"sync": "never"}, "use one of end"),
        ({"update": "pipedream", "placement": ((0, 1), (1, 0))}, "drift apart"),
    ],
)
def test_shapes(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        check(schedule_of("0F0 0B0", "1F0 1B0", **fields))
    assert says in f"{caught.value} {caught.value.remedy}"


def test_a_doubled_forward_stays_in_one_replica() -> None:
    with pytest.raises(ScheduleError, match="two of the same replica"):
        check(schedule_of("0F0+1 0B0 0B1", placement=((0,), (0,)), replica_of=(0, 1)))


def test_a_circle_shows_who_waits_for_whom() -> None:
    """Device 0 wants B0 before it runs F1; device 1 wants F1 before it runs B0."""
    with pytest.raises(DeadlockError) as caught:
        check(schedule_of("0F0 0B0 0F1 0B1", "1F0 1F1 1B0 1B1"))
    error = caught.value
    assert error.cycle == ((0, 1), (1, 0))
    assert (error.device, error.position) == (0, 1)
    assert "device 0 at 0B0 (position 1) waits for the backward of stage 1, micro-batch 0 on device 1" in str(error)
    assert "device 1 at 1F1 (position 1) waits for the forward of stage 0, micro-batch 1 on device 0" in str(error)


def test_an_overlap_that_needs_its_own_result_waits_for_itself() -> None:
    """In a V device 0 holds stages 0 and 2: the backward of stage 2 cannot go with stage 0's forward of that batch."""
    with pytest.raises(ScheduleError, match="own forward"):
        check(schedule_of("(0F0;2B0)OVERLAP_F_B 2F0 0B0", "1F0 1B0", stages=3, placement=((0, 1, 0),)))
    with pytest.raises(DeadlockError) as caught:
        check(
            schedule_of(
                "0F0 2F0 0F1 (2F1;0B0)OVERLAP_F_B 2B0 2B1 0B1", "1F0 1F1 1B0 1B1", stages=3, placement=((0, 1, 0),)
            )
        )
    assert caught.value.device == 0 or caught.value.device == 1


def runs_to_the_end(schedule: Schedule) -> bool:
    """The oracle: whole actions of a chain, each device tries its next one until nobody can go on."""
    done: set[tuple[str, int, int]] = set()
    position = [0] * schedule.devices
    moved = True
    while moved:
        moved = False
        for device, row in enumerate(schedule.actions):
            while position[device] < len(row):
                stage, kind, microbatch = row[position[device]][:3]  # type: ignore[misc]
                needs = {
                    "F": [("F", stage - 1, microbatch)] if stage else [],
                    "B": [("F", stage, microbatch)] + [("B", stage + 1, microbatch)] * (stage < schedule.stages - 1),
                }[str(kind)]
                if not done.issuperset(needs):
                    break
                done.add((str(kind), stage, microbatch))
                position[device] += 1
                moved = True
    return position == [len(row) for row in schedule.actions]


def test_random_orders_are_judged_as_trying_them_does() -> None:
    """Shuffled rows of 2 stages and 3 micro-batches: complete and in place, so only the order can be wrong."""
    draw = random.Random(7)
    verdicts = []
    for _ in range(3000):
        base = ["F0", "F1", "F2"], ["B0", "B1", "B2"]
        rows = []
        for stage in range(2):
            forwards, backwards = (draw.sample(part, 3) for part in base)
            row = [*forwards, *backwards]
            for _swap in range(draw.randrange(3)):
                i = draw.randrange(5)
                row[i], row[i + 1] = row[i + 1], row[i]
            rows.append(" ".join(f"{stage}{action}" for action in row))
        schedule = schedule_of(*rows)
        try:
            check(schedule)
            verdicts.append(True)
        except ScheduleError:
            verdicts.append(False)
        assert verdicts[-1] == runs_to_the_end(schedule), rows
    assert 0.2 < sum(verdicts) / len(verdicts) < 0.9


def test_checking_takes_microseconds_an_action() -> None:
    """Aim: under 5 us an action; the bound leaves room for a busy machine."""
    schedule = build("dapple", stages=32, microbatches=256)
    started = time.process_time()
    check(schedule)
    assert time.process_time() - started < 20e-6 * sum(map(len, schedule.actions))


def test_missing_last_microbatch_is_found() -> None:
    schedule = build("dapple", stages=3, microbatches=4)
    with pytest.raises(ScheduleError, match="never runs"):
        check(replace(schedule, microbatches=5, replica_of=(0,) * 5))
