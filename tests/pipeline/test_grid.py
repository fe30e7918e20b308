"""The text grid: slots a person can read, and a stuck, marked or huge schedule drawn in order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.pipeline.actions import Action, Kind, Overlap
from chimera.pipeline.files.grid import text_grid
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build


def test_a_small_grid_by_hand() -> None:
    # 1F1B of 2 stages and 2 micro-batches in slots of one forward; a backward takes two.
    assert text_grid(build("dapple", stages=2, microbatches=2)).splitlines() == [
        "slot        0   1   2   3   4   5   6   7   8",
        "device 0    0F0 0F1 .   .   0B0 =   .   0B1 =",
        "device 1    .   1F0 1B0 =   1F1 1B1 =   .   .",
    ]


def test_the_papers_size_fits_a_wide_terminal() -> None:
    lines = text_grid(build("chimera", stages=8, microbatches=8)).splitlines()
    assert len(lines) == 9 and max(map(len, lines)) < 160
    assert lines[0].split()[-1] == "35"  # 36 slots: (D-2+2K) + K (2D-2) 2


def test_every_action_stands_in_its_column() -> None:
    schedule = build("chimera", stages=4, microbatches=8, concat="doubling")
    for row, line in zip(schedule.actions, text_grid(schedule).splitlines()[1:], strict=True):
        assert [cell for cell in line.split()[2:] if cell not in ".="] == [str(action) for action in row]


def test_an_overlapped_pair_is_one_cell() -> None:
    pair = Overlap(Action(0, Kind.F, 1), Action(0, Kind.B, 0))
    schedule = Schedule("x", 1, 1, 2, ((0,),), (0, 0), ((Action(0, Kind.F, 0), pair, Action(0, Kind.B, 1)),))
    assert text_grid(schedule).splitlines()[1].split() == [
        *("device", "0", "0F0", "(0F1;0B0)OVERLAP_F_B", "=", "=", "0B1", "=")
    ]


@pytest.mark.parametrize("place", [(1, 0), (0, 3), (1, 3)])
def test_a_mark_points_at_its_cell(place: tuple[int, int]) -> None:
    schedule = build("dapple", stages=2, microbatches=2)
    lines = text_grid(schedule, place).splitlines()
    below = next(number for number, line in enumerate(lines) if "<-- ERROR HERE" in line)
    device, position = place
    assert lines[below - 1].startswith(f"device {device}")
    column = lines[below].index("^")
    assert lines[below - 1][column:].split()[0] == str(schedule.actions[device][position])


def test_a_stuck_schedule_is_drawn_in_order_and_says_so() -> None:
    good = build("dapple", stages=2, microbatches=2)
    first = (good.actions[0][2], *good.actions[0][:2], good.actions[0][3])
    stuck = text_grid(replace(good, actions=(first, good.actions[1])))
    assert stuck.splitlines()[0] == "in order, without slots (devices wait for one another); positions 0 to 3 of 4"
    assert "0B0 0F0 0F1 0B1" in stuck


def test_a_huge_schedule_is_cut_and_says_so() -> None:
    schedule = build("dapple", stages=4, microbatches=1000)
    lines = text_grid(schedule, widest=120).splitlines()
    assert "are wider than 120" in lines[0] and "of 2000" in lines[0]
    assert max(map(len, lines[1:])) <= 12 + 120
    around = text_grid(schedule, (2, 1500), widest=120)
    assert str(schedule.actions[2][1500]) in around and "(device 2, position 1500)" in around


def test_a_device_without_work_has_an_empty_row() -> None:
    schedule = build("chimera", stages=4, microbatches=4)
    idle = replace(schedule, actions=tuple(() for _ in range(4)))
    assert [line.rstrip() for line in text_grid(idle).splitlines()[1:]] == [f"device {device}" for device in range(4)]
