"""`chimera run` with paced compute: more ranks than cores, and never mistaken for real."""

import json
from pathlib import Path
from typing import Any

import pytest

SIZE = ("--model", "cnn-tiny", "--microbatches", 4, "--microbatch-size", 1)
UNIFORM = ("--forward", "20ms", "--backward", "40ms")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--compute", "paced"), ("no costs", "--profile", "--forward")),
        (UNIFORM, ("--forward 20ms", "real compute", "--compute paced")),
        (("--compute", "paced", "--forward", "20", "--backward", "40ms"), ("--forward 20", "unit", "1ms")),
    ],
)
def test_costs_belong_to_paced_compute(
    chimera: Any, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = chimera("run", "gpipe", *SIZE, "--stages", 2, *arguments, "--output", tmp_path)
    assert done.status == 2 and done.stdout == ""
    assert not [word for word in words if word not in done.stderr], done.stderr


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.timing
def test_a_paced_run_takes_its_time_and_says_so(chimera: Any, tmp_path: Path) -> None:
    costs = ("--compute", "paced", *UNIFORM, "--steps", 2)
    document = chimera("run", "chimera", *SIZE, "--stages", 4, *costs, "--output", tmp_path, "--json").document
    assert document["compute"] == "paced" and document["losses"] == []
    # Chimera, D = N = 4, B = 2F: 16 units of 20 ms (paper, table 2), and no sleep is shorter than asked for
    assert document["pipeline_s"] >= 0.320
    assert json.loads((tmp_path / "timeline.json").read_text())["source"] == "paced"
    assert "paced" in (tmp_path / "trace.json").read_text()
