"""What stands in a run's folder after another run there: never a mixture of two."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chimera.executor.training import train as training
from chimera.executor.training.train import train
from chimera.pipeline.errors import RunError
from chimera.pipeline.schedules import build
from chimera.pipeline.setting import Setting

FINISHED = ("run.json", "timeline.json", "trace.json")


def run_in(folder: Path, monkeypatch: pytest.MonkeyPatch, launch: Callable[..., Any], done: list[float]) -> None:
    """A training whose ranks are played by `launch`, and whose journal has the losses `done`."""
    monkeypatch.setattr(training, "launch", launch)
    monkeypatch.setattr(training, "partial_results", lambda *_: [])
    monkeypatch.setattr(training, "losses", lambda *_: done)
    monkeypatch.setattr(training, "timelines", lambda *_: [])
    train(
        {"gpipe": build("gpipe", stages=2, microbatches=2)},
        Setting.of("mlp-tiny", stages=2, microbatch_size=1, steps=2),
        output=folder,
    )


def fail(*_: object, **__: object) -> None:
    raise RunError("rank 1", "was killed", "look at its log")


def earlier_run(folder: Path) -> Path:
    for name in FINISHED:
        (folder / name).write_text("of an earlier run")
    return folder


def test_a_run_that_fails_after_some_steps_takes_the_place_of_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError):
        run_in(earlier_run(tmp_path), monkeypatch, fail, [1.5])
    assert {path.name for path in tmp_path.iterdir()} == {"losses.csv", "losses.json"}


def test_a_run_that_fails_before_its_first_step_leaves_the_earlier_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError):
        run_in(earlier_run(tmp_path), monkeypatch, fail, [])
    assert {path.name for path in tmp_path.iterdir()} == set(FINISHED)


def test_a_run_that_ends_well_leaves_no_partial_timeline_of_one_that_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "partial-timeline.json").write_text("of a failed run")
    run_in(tmp_path, monkeypatch, lambda *_, **__: [], [1.5])
    assert not list(tmp_path.iterdir())
