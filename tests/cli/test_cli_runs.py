"""Commands that start ranks: a real run and a calibration, and what they leave in their folder."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from chimera.cli.inner_command import task_of

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]
LOSSES = {"losses.csv", "losses.json", "losses.png"}
FILES = {"run.json", "timeline.json", "trace.json", "timeline.png", "ranks"} | LOSSES


def test_a_real_run_leaves_its_files_and_learns(chimera: Any, tmp_path: Path) -> None:
    size = ("--model", "mlp-tiny", "--stages", 2, "--microbatches", 2, "--microbatch-size", 2, "--steps", 2)
    done = chimera("run", "dapple", *size, "--output", tmp_path, "--json")
    assert done.status == 0
    document = done.document
    assert document == json.loads((tmp_path / "run.json").read_text())
    assert (document["compute"], document["devices"], len(document["iterations_s"])) == ("real", 2, 2)
    assert len(document["losses"]) == 2 and all(loss > 0 for loss in document["losses"])
    assert {path.name for path in tmp_path.iterdir()} == FILES
    (next_command,) = re.findall("next: chimera (.*)", done.stderr)
    assert task_of(shlex.split(next_command)).ranks == 2  # accepted by the check of that command


def test_a_calibrated_profile_predicts_what_comes_next(chimera: Any, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    size = ("--model", "cnn-tiny", "--data", "digits", "--stages", 2, "--microbatch-size", 2)
    done = chimera("calibrate", *size, "--budget", "2s", "--output", path, "--json")
    assert done.status == 0
    assert done.document == json.loads(path.read_text())
    assert [entry.name for entry in tmp_path.iterdir()] == ["profile.json"]  # nothing beside what was asked for
    kept = {layer["name"]: layer["costs"][0]["activation_bytes"] for layer in done.document["layers"]}
    (model,) = chimera("models", "cnn-tiny", "--json").document["models"]
    described = {layer["name"]: 2 * 4 * layer["activation_elements"] for layer in model["layers"]}  # float32
    blocks = [name for name in kept if name.startswith("residual")]
    assert [kept[name] for name in blocks] == [described[name] for name in blocks]
    document = chimera("simulate", "gpipe", "--stages", 2, "--microbatches", 4, "--profile", path, "--json").document
    assert document["profile"]["machine"]["processor"]
    assert document["throughput_samples_per_s"] == pytest.approx(2 * 4 / document["iteration_s"])
    assert all(device["peak_memory_bytes"] > 0 for device in document["per_device"])
