"""A file of one's own under a name: the same schedule, and refusals that say what would fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimera.pipeline.errors import InputError, ScheduleError
from chimera.pipeline.files.schedule_file import schedule_csv
from chimera.pipeline.schedules import build


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "order.csv"
    path.write_text(schedule_csv(build("zb-h1", stages=4, microbatches=6)))
    return str(path)


def test_the_file_is_the_schedule(file: str) -> None:
    found, original = build("custom", stages=4, microbatches=6, file=file), build("zb-h1", stages=4, microbatches=6)
    assert (found.actions, found.placement) == (original.actions, original.placement)


@pytest.mark.parametrize(("stages", "microbatches"), [(2, 6), (4, 8)])
def test_other_numbers_than_the_files_are_refused(file: str, stages: int, microbatches: int) -> None:
    with pytest.raises(InputError) as refusal:
        build("custom", stages=stages, microbatches=microbatches, file=file)
    assert "--stages 4 --microbatches 6" in refusal.value.remedy


def test_no_file_no_order() -> None:
    with pytest.raises(InputError) as refusal:
        build("custom", stages=4, microbatches=6)
    assert "file=" in refusal.value.remedy


def test_an_unsound_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("0F0,0B0\n1B0,1F0\n")
    with pytest.raises(ScheduleError):
        build("custom", stages=2, microbatches=1, file=str(path))
