"""The preliminary experiment of the task: a CNN on images, trained under four schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "models.md"
NAMES = ("chimera", "gpipe", "dapple", "data-parallel")


@pytest.mark.slow
@pytest.mark.multiprocess
def test_a_cnn_learns_the_digits_alike_under_four_schedules(chimera: Any, tmp_path: Path) -> None:
    # The command is the guide's: 40 steps in float64, since a training amplifies the last bits of float32, in
    # which orders of addition differ.
    (command,) = (line.split()[1:] for line in GUIDE.read_text().splitlines() if line.startswith("    chimera run"))
    done = chimera(*command, "--output", tmp_path, "--json")
    assert done.status == 0, done.stderr
    cases = {case["schedule"]: case for case in done.document["cases"]}
    assert tuple(cases) == NAMES
    for case in cases.values():
        assert case["losses"] == pytest.approx(cases["chimera"]["losses"], rel=1e-9) and len(case["losses"]) == 40
        assert case["accuracy"] > 0.95
        assert (case["model"], case["data"]) == ("cnn-tiny", "digits")
        assert case["training_s"] > 0 and case["throughput_samples_per_s"] > 0 and 0 < case["utilisation"] <= 1
        assert len(case["peak_memory_bytes"]) == 2
    assert (tmp_path / "losses.png").stat().st_size > 0
