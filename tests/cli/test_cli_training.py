"""`chimera run` as training: several schedules learn the same, and a run that was cut short goes on."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from chimera.executor.jobs.manifest import read_manifest

ROOT = Path(__file__).parents[2]
SIZE = ("--model", "mlp-tiny", "--stages", 2, "--microbatches", 2, "--microbatch-size", 4)
NAMES = ("chimera", "gpipe", "data-parallel")


@pytest.mark.slow
@pytest.mark.multiprocess
def test_schedules_that_take_turns_have_one_loss_curve(chimera: Any, tmp_path: Path) -> None:
    rules = ("--decay", "cosine", "--rate-warmup", 2, "--clip-norm", 1, "--optimizer", "sgd", "--momentum", 0.9)
    done = chimera("run", *NAMES, *SIZE, "--steps", 8, "--partition", "4,6", *rules, "--output", tmp_path, "--json")
    assert done.status == 0, done.stderr
    cases = done.document["cases"]
    assert [case["schedule"] for case in cases] == list(NAMES)
    for case in cases:
        assert case["losses"] == pytest.approx(cases[0]["losses"], rel=1e-5) and len(case["losses"]) == 8
        assert case["accuracy"] == pytest.approx(cases[0]["accuracy"], abs=0.01)  # 512 samples: one may tip over
        assert case["training_s"] > 0 and case["peak_memory_bytes"]
        assert case["partition"] == [4, 6] and case["data"] == "teacher"
    with open(tmp_path / "losses.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["step", *NAMES] and [row[0] for row in rows] == [str(step) for step in range(1, 9)]
    assert [float(row[1]) for row in rows] == cases[0]["losses"]
    assert {path.stem for path in (tmp_path / "timelines").iterdir()} == set(NAMES)


def _start(folder: Path, *more: object) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        "from chimera.cli import main; main()",
        "run",
        "dapple",
        *map(str, SIZE),
        *map(str, more),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, "--output", str(folder)], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.multiprocess
def test_a_killed_run_names_resume_and_goes_on(chimera: Any, tmp_path: Path) -> None:
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    command = _start(cut, "--steps", 100_000, "--checkpoint-every", 3)
    deadline = time.monotonic() + 240
    while not (cut / "checkpoint" / "manifest.json").exists():
        assert command.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(int((cut / "ranks" / "rank-1.pid").read_text()), signal.SIGKILL)
    _, stderr = command.communicate(timeout=240)
    assert command.returncode == 1 and "--resume goes on from step" in stderr
    assert (cut / "losses.csv").read_text().startswith("step,dapple\n1,")
    refused = chimera("run", "dapple", *SIZE, "--output", cut)
    assert refused.status == 2 and "--resume" in refused.stderr
    other = chimera("run", "gpipe", *SIZE, "--resume", "--steps", 200_000, "--output", cut)
    assert other.status == 2 and "the checkpoint has schedules dapple" in other.stderr
    step = int(stderr.rpartition("from step ")[2].split()[0])
    resumed = chimera("run", "dapple", *SIZE, "--steps", step + 2, "--resume", "--output", cut, "--json")
    assert resumed.status == 0, resumed.stderr
    plain = chimera("run", "dapple", *SIZE, "--steps", step + 2, "--output", whole, "--json")
    assert resumed.document["losses"] == plain.document["losses"]
    assert f"resuming from step {step}, with a checkpoint every 3 steps as before" in resumed.stderr
    assert read_manifest(cut).step == step + 2  # type: ignore[union-attr]  # the end is kept, too


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resume",), ("nothing to resume", "--resume")),
        (("--seconds", "5s", "--decay", "cosine"), ("decay without steps", "--steps")),
        (("--seconds", "5"), ("--seconds 5", "unit")),
        (
            ("--checkpoint-every", 2, "--compute", "paced", "--forward", "1ms", "--backward", "2ms"),
            ("checkpoint", "nothing is learnt"),
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_starts(
    chimera: Any, tmp_path: Path, arguments: tuple[object, ...], words: tuple[str, ...]
) -> None:
    done = chimera("run", "dapple", *SIZE, *arguments, "--output", tmp_path)
    assert done.status == 2 and not [word for word in words if word not in done.stderr], done.stderr
    assert list(tmp_path.iterdir()) == []
