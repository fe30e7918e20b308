"""Schedules in files: round trips, and everything that must be refused with its place."""

import json
import logging
import random
from dataclasses import replace
from pathlib import Path

import pytest

from chimera.pipeline.actions import Kind
from chimera.pipeline.errors import ChimeraError, InputError, ScheduleError, UnknownNameError
from chimera.pipeline.files.schedule_file import read_plan, read_schedule, schedule_csv, schedule_json
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build, catalogue
from chimera.pipeline.soundness.check import check, check_plan
from tests.pipeline.by_hand import everything
from tests.pipeline.conftest import Write


def torch_has_words_for(schedule: Schedule) -> bool:
    one_home = all(len(schedule.replica_devices(stage)) == 1 for stage in range(schedule.stages))
    plain = all(part.also < 0 and part.half < 0 for row in schedule.actions for action in row for part in action.parts)
    return one_home and plain and schedule.update == "flush"


@pytest.mark.parametrize("schedule", everything())
def test_csv_round_trip_or_refusal(schedule: Schedule, write: Write) -> None:
    if not torch_has_words_for(schedule):
        with pytest.raises(ScheduleError, match="cannot be written as torch CSV") as caught:
            schedule_csv(schedule)
        assert "JSON" in caught.value.remedy
        return
    back = read_schedule(write(schedule_csv(schedule)))
    assert (back.actions, back.placement, back.stages, back.microbatches) == (
        schedule.actions,
        schedule.placement,
        schedule.stages,
        schedule.microbatches,
    )
    check(back)
    plan = lower(schedule)
    again = read_plan(write(schedule_csv(plan)))
    check_plan(again)
    without = [tuple(action for action in row if action.kind is not Kind.REDUCE_GRAD) for row in again.actions]
    assert without == list(plan.actions), "only the REDUCE_GRADs that torch scales gradients with are added"


@pytest.mark.parametrize("name", ["chimera", "gems", "dualpipe", "data-parallel"])
def test_replicated_schedules_are_not_written_as_torch_csv(name: str) -> None:
    if name not in {item.name for item in catalogue()}:
        pytest.skip("not in the catalogue")
    schedule = build(name, stages=2, microbatches=4)
    for what in (schedule, lower(schedule)):
        with pytest.raises(ScheduleError, match="replicas of each stage, and torch wants each on one rank") as caught:
            schedule_csv(what)
        assert "--format json" in caught.value.remedy


def test_words_torch_lacks_are_not_written(write: Write) -> None:
    doubled = read_schedule(write("0F0+1,0B0,0B1\n"))
    with pytest.raises(ScheduleError, match=r"0F0\+1 covers two micro-batches"):
        schedule_csv(doubled)
    with pytest.raises(ScheduleError, match="without a flush"):
        schedule_csv(replace(build("dapple", stages=2, microbatches=2), update="2bw"))
    with pytest.raises(ScheduleError, match="device 1 computes nothing"):
        schedule_csv(replace(doubled, actions=(doubled.actions[0][1:], ()), devices=2))


def test_what_torch_writes_is_read(write: Write) -> None:
    r"""Rows of different lengths, empty cells as no-ops, `\r\n` as csv.writer ends lines, a blank last line."""
    back = read_schedule(write("0F0,0F1,,,0B0,0B1\r\n,1F0,1B0,1F1,1B1\r\n\r\n"))
    assert [" ".join(map(str, row)) for row in back.actions] == ["0F0 0F1 0B0 0B1", "1F0 1B0 1F1 1B1"]
    assert (back.placement, back.replica_of, back.name) == (((0, 1),), (0, 0), "schedule")
    check(back)


def test_sharding_actions_are_dropped_with_a_note(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        back = read_schedule(write("0UNSHARD,0F0,0B0,0REDUCE_GRAD,0RESHARD\n"))
    assert " ".join(map(str, back.actions[0])) == "0F0 0B0"
    assert "2 UNSHARD/RESHARD actions dropped" in caplog.text


def test_a_lowered_file_is_kept_as_it_stands_and_gets_its_steps(write: Write) -> None:
    path = write("0F0,0SEND_F0,0RECV_B0,0B0,0REDUCE_GRAD\n1RECV_F0,1F0,1B0,1SEND_B0,1REDUCE_GRAD\n")
    plan = read_plan(path)
    assert " ".join(map(str, plan.actions[1])) == "1RECV_F0 1F0 1B0 1SEND_B0 1REDUCE_GRAD 1STEP"
    check_plan(plan)


def test_the_older_dialect(write: Write) -> None:
    """Zero-Bubble code: B is the input gradient, BW the full backward."""
    path = write("0F0,0F1,0B0,0W0,0BW1\n1F0,1BW0,1F1,1B1,1W1\n")
    back = read_schedule(path)
    assert [" ".join(map(str, row)) for row in back.actions] == ["0F0 0F1 0I0 0W0 0B1", "1F0 1B0 1F1 1I1 1W1"]
    check(back)
    with pytest.raises(InputError) as caught:
        read_schedule(path, dialect="torch")
    assert "column 5" in str(caught.value) and "zero-bubble" in caught.value.remedy
    with pytest.raises(UnknownNameError):
        read_schedule(path, dialect="latin")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "row", "column"),
    [
        ("0F0,0B0\n1F0,1F1junk,1B0\n", 2, 2),
        ("0F0,0B\n", 1, 2),
        ("\ufeff0F0,0B0\n", 1, 1),
        ("0F0,\u06620B0\n", 1, 2),
        ("0F0;0B0\n", 1, 1),
        ("0F0,,0b0\n", 1, 3),
        ("0F0,-1B0\n", 1, 2),
        ("0F0,0F99999999\n", 1, 2),
        ("0F0,99999999F0\n", 1, 2),
        ("0F0,0F" + "9" * 5000 + "\n", 1, 2),
        ("rank0,0F0\n", 1, 1),
        ("0F0\x000B0\n", 1, 1),
        ("0F0,0B0\x1c1F0\n", 1, 2),
    ],
)
def test_strange_cells_are_refused_with_row_device_and_column(write: Write, text: str, row: int, column: int) -> None:
    with pytest.raises(InputError) as caught:
        read_schedule(write(text))
    assert f"schedule.csv row {row} (device {row - 1}), column {column}" in str(caught.value)
    assert caught.value.remedy


def test_repeated_actions_are_refused_with_both_columns(write: Write) -> None:
    for text in ("0F0,0F1,0F0,0B0,0B1\n", "0F0,,0F0,0B0\n", "0F1,0F0,(0F1;0B0)OVERLAP_F_B\n"):
        with pytest.raises(ScheduleError, match=r"row 1 \(device 0\), column 3: 0F[01]: stands already in column 1"):
            read_schedule(write(text))


def test_a_stage_on_two_devices_needs_a_placement(write: Write) -> None:
    path = write("0F0,1F1,1B1,0B0\n1F0,1B0,0F1,0B1\n")
    with pytest.raises(ScheduleError, match="runs on device") as caught:
        read_schedule(path)
    assert "placement" in caught.value.remedy and caught.value.device is not None
    back = read_schedule(path, placement=[[0, 1], [1, 0]])
    assert (back.placement, back.replica_of) == (((0, 1), (1, 0)), (0, 1))


def test_a_misplaced_action_is_left_to_the_check(write: Write) -> None:
    """Micro-batch 0 has three actions where replica 0 wants them and one astray."""
    path = write("0F0,1F1,1B1,0B0,1B0\n1F0,0F1,0B1\n")
    with pytest.raises(ScheduleError, match="stage 1 of micro-batch 0 is placed on device 1") as caught:
        check(read_schedule(path, placement=[[0, 1], [1, 0]]))
    assert (caught.value.device, caught.value.position) == (0, 4)


def test_missing_stages_and_empty_files(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="never runs stage 1"):
        read_schedule(write("0F0,2F0,2B0,0B0\n"))
    for text in ("", "\n\n", "0SEND_F0\n"):
        with pytest.raises(InputError):
            read_schedule(write(text))
    with pytest.raises(InputError, match="No such file"):
        read_schedule(tmp_path / "nowhere.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe0F0")
    with pytest.raises(InputError, match="not UTF-8"):
        read_schedule(tmp_path / "bytes.csv")


@pytest.mark.parametrize("lowered", [False, True])
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_random_edits_end_in_our_errors_only(kind: str, lowered: bool, write: Write) -> None:
    """Whatever a byte or two of damage does, the answer is a sound plan or one of our errors."""
    schedule = build("dapple", stages=3, microbatches=3)
    what = lower(schedule) if lowered else schedule
    text = schedule_csv(what) if kind == "csv" else json.dumps(schedule_json(what))
    draw = random.Random(13)
    accepted = 0
    for _ in range(600):
        damaged = list(text)
        for _edit in range(draw.randrange(1, 3)):
            place = draw.randrange(len(damaged))
            damaged[place : place + draw.randrange(3)] = draw.choice(
                ["", "0", "1", "9", "F", "B", ",", "W", "\n", "[", "-", "S"]
            )
        path = write("".join(damaged))
        try:
            plan = read_plan(path)
            check_plan(plan)
            accepted += 1
        except ChimeraError as error:
            assert str(error)
    assert accepted < 300


@pytest.mark.parametrize(
    "text",
    [
        "0F0,0F1,0B0,0W0,0B1,0W1\n1F0,1B0,1W0,1F1,1B1,1W1\n",  # B and W of the older dialect, without a BW
        "0F0,0F1,0BW0,0BW1\n1F0,1BW0,1F1,1BW1\n",
    ],
)
def test_a_file_tells_by_itself_that_it_is_of_the_older_dialect(write: Write, text: str) -> None:
    """In torch's, a W belongs to an I: a file with W and without I cannot be of it."""
    check(read_schedule(write(text)))


def test_a_split_backward_of_torch_is_not_taken_for_the_older_dialect(write: Write) -> None:
    back = read_schedule(write("0F0,0F1,0I0,0W0,0B1\n"))
    assert " ".join(map(str, back.actions[0])) == "0F0 0F1 0I0 0W0 0B1"


def test_quotes_tabs_and_blanks_in_a_pair_are_read_as_torch_reads_them(write: Write) -> None:
    text = '"0F0"\t, "0F1" ,( 0F2; 0B0 )OVERLAP_F_B,0B1,0B2\n'
    back = read_schedule(write(text.replace(' "0F1"', '"0F1"')))
    assert " ".join(map(str, back.actions[0])) == "0F0 0F1 (0F2;0B0)OVERLAP_F_B 0B1 0B2"
