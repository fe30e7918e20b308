"""One call draws what the rooms give back; nothing of it is loaded before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from chimera.calibration.judging.statistics import Interval
from chimera.calibration.judging.validation import Figures, Validation, ValidationCase
from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedules import build
from chimera.plotting import plot
from chimera.simulator import Profile, simulate

SCHEDULE = build("chimera", stages=4, microbatches=8)
PREDICTIONS = [simulate(build(name, stages=4, microbatches=8), Profile.uniform()) for name in ("gpipe", "dapple")]


def validation(count: int = 1) -> Validation:
    figures, timeline = Figures(1.0, 0.1, 2.0, (1,)), PREDICTIONS[0].timeline
    interval = Interval(1.0, 0.9, 1.1, 0.05)
    case = ValidationCase("gpipe", 4, 8, 1, figures, figures, interval, None, 3, 3, 0, timeline, timeline)
    machine = {"processor": "a CPU of some kind"}
    cases = (case,) * count
    return Validation(
        machine, "real", "gpt-tiny", 4, 1.0, 0.01, 0.0, 0.05, cases, True, 0.0, Profile.uniform(), provenance={}
    )


def texts(figure: Figure) -> str:
    return "\n".join(written.get_text() for written in figure.findobj(Text) if isinstance(written, Text))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (SCHEDULE, ["chimera, 4 devices, 8 micro-batches", "unit costs", "device 3"]),
        (lower(SCHEDULE), ["chimera, 4 devices"]),
        (PREDICTIONS[0], ["gpipe, 4 devices", "iteration 33 ms", "profile uniform"]),  # (8 + 4 - 1) x 3 ms
        (PREDICTIONS[0].timeline, ["gpipe, 4 devices (predicted)"]),
        (PREDICTIONS, ["gpipe\n", "dapple\n", "2 schedules"]),
        ([PREDICTIONS[0], PREDICTIONS[0]], ["1: gpipe", "2: gpipe"]),
        ({"ours": PREDICTIONS[0], "theirs": PREDICTIONS[1].timeline}, ["ours\n", "theirs\n"]),
        (validation(), ["Iteration time", "a CPU of some kind, gpt-tiny"]),
    ],
    ids=["schedule", "plan", "prediction", "timeline", "several", "alike", "named", "validation"],
)
def test_everything_can_be_drawn(value: object, says: list[str], tmp_path: Path) -> None:
    figure = plot(value, tmp_path / "picture.png")  # type: ignore[arg-type]
    assert isinstance(figure, Figure)
    assert all(text in texts(figure) for text in says)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert plot(SCHEDULE).axes
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["chimera", 3, None, [], [1], {"a": 1}, validation(0)])
def test_what_cannot_be_drawn_is_refused_in_a_sentence(value: object) -> None:
    with pytest.raises(InputError) as refusal:
        plot(value)  # type: ignore[arg-type]
    assert refusal.value.remedy


def test_a_suffix_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no known suffix"):
        plot(SCHEDULE, tmp_path / "picture.jpeg2")


def test_matplotlib_is_loaded_by_who_draws() -> None:
    code = "import sys, chimera.plotting; sys.exit('matplotlib' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
