"""A running training is followed by what all of its ranks have written, and by nothing less."""

from __future__ import annotations

import json
from pathlib import Path

from chimera.executor.training.following import Following
from chimera.pipeline.files.loss_table import write_losses


def _write(output: Path, rank: int, steps: int, unfinished: str = "") -> None:
    lines = [json.dumps({"label": "a", "round": n, "loss": 0.25, "ranks": 2}) + "\n" for n in range(-1, steps)]
    (output / "ranks").mkdir(exist_ok=True)
    (output / "ranks" / f"rank-{rank}.jsonl").write_text("".join(lines) + unfinished)


def test_the_last_step_that_every_rank_completed(tmp_path: Path) -> None:
    following = Following(tmp_path, steps=21)
    assert following.latest(1.0) is None
    _write(tmp_path, 0, 3, unfinished='{"label": "a", "rou')
    assert following.latest(2.0) is None, "the other rank has written nothing"
    _write(tmp_path, 1, 1)
    first = following.latest(3.0)
    assert first is not None and (first.number, first.loss, first.left_s) == (1, 0.5, None)
    _write(tmp_path, 0, 11)
    _write(tmp_path, 1, 11)
    later = following.latest(8.0)
    # by hand: 10 steps in 5 s, and 10 of 21 are left
    assert later is not None and (later.number, later.seconds, later.left_s) == (11, 0.5, 5.0)


def test_a_table_of_losses_has_a_row_a_step_and_gaps_where_one_training_is_shorter(tmp_path: Path) -> None:
    write_losses({"a": [0.5, 0.25], "b": [0.125]}, tmp_path)
    assert (tmp_path / "losses.csv").read_text() == "step,a,b\n1,0.5,0.125\n2,0.25,\n"
    assert json.loads((tmp_path / "losses.json").read_text())["losses"] == {"a": [0.5, 0.25], "b": [0.125]}
