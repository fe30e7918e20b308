"""Bad input: exit status 2, one line that says what is wrong and a hint, nothing on stdout."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import chimera.calibration.judging.validate
import chimera.executor.training.run  # noqa: F401 - both bind what these tests replace for a while, before they do
from chimera.simulator import Profile, save_profile

SIZE = ("--stages", 4, "--microbatches", 4)
ROOT = Path(__file__).parents[2]
UNIFORM = ("--forward", "1ms", "--backward", "2ms")


def complaints(done: Any, *words: str, status: int = 2) -> list[object]:
    """What is wrong with how a command was refused: its status, what it printed, and the words that are missing."""
    missing: list[object] = [word for word in words if word.lower() not in done.stderr.lower()]
    wrong = [done.status] if done.status != status else []
    return missing + wrong + [text for text in (done.stdout, *re.findall("Traceback", done.stderr)) if text]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("chimera", "--stages", 3, "--microbatches", 4, *UNIFORM), ("3 stages", "even", "hint")),
        (("gpipe", "--stages", 4, "--microbatches", 0, *UNIFORM), ("microbatches", "0", "at least 1")),
        (("gpipe", "--stages", 0, "--microbatches", 4, *UNIFORM), ("stages", "0", "at least 1")),
        (("gpipe", *SIZE, "--forward", "1", "--backward", "2ms"), ("1", "unit", "1ms")),
        (("gpipe", *SIZE, "--forward", "1ms", "--backward", "2 parsecs"), ("2 parsecs", "unit", "ms")),
        (("gpipe", *SIZE, "--forward", "-1ms", "--backward", "2ms"), ("-1ms", "negative")),
        (("chimaera", *SIZE, *UNIFORM), ("chimaera", "did you mean", "'chimera'", "gpipe", "dapple")),
        (("chimera", *SIZE, *UNIFORM, "--set", "pears=2"), ("pears", "did you mean", "'pairs'")),
        (("chimera", *SIZE, *UNIFORM, "--set", "pairs"), ("pairs", "key=value")),
        (("chimera", *SIZE, *UNIFORM, "--set", "pairs=two"), ("pairs=two",)),
        (("chimera", *SIZE, *UNIFORM, "--set", "concat=twice"), ("twice", "doubling")),
        (("chimera", *SIZE), ("--forward", "--profile")),
        (("chimera", *SIZE, "--forward", "1ms", "--backward-input", "1ms"), ("--backward-weight",)),
        (("chimera", *SIZE, *UNIFORM, "--profile", "x.json"), ("--profile", "--forward")),
        (("chimera", *SIZE, "--profile", "nowhere.json"), ("nowhere.json", "not a file")),
        (("chimera", *UNIFORM, "--stages", 4), ("--microbatches",)),
        (("chimera", *SIZE, *UNIFORM, "--width", 0), ("width 0",)),
        (("chimera", *SIZE, *UNIFORM, "--engine", "simpie"), ("simpie", "simpy", "compiled")),
        (("chimera", "--microbatches", 4, *UNIFORM, "--stages", "four"), ("--stages", "whole number")),
        (("nowhere/order.csv", *UNIFORM), ("nowhere/order.csv",)),
    ],
)
def test_simulate_refuses(chimera: Any, arguments: tuple[object, ...], words: tuple[str, ...]) -> None:
    assert not complaints(chimera("simulate", *arguments), *words)


def test_an_unknown_command_is_answered_with_the_closest(chimera: Any) -> None:
    assert not complaints(chimera("simulat"), "simulat", "did you mean", "'simulate'", "validate")


def test_an_unknown_option_is_wrong_usage(chimera: Any) -> None:
    assert not complaints(
        chimera("simulate", "chimera", *SIZE, *UNIFORM, "--micro-batches", 4),
        "unknown option",
        "--micro-batches",
        "did you mean --microbatches",
    )


@pytest.mark.parametrize("command", ["calibrate", "run", "validate"])
def test_an_unknown_model_is_answered_with_the_closest(chimera: Any, tmp_path: Path, command: str) -> None:
    name = () if command == "calibrate" else ("dapple",)
    size = {
        "calibrate": ("--stages", 2, "--microbatch-size", 1, "--output", tmp_path / "profile.json"),
        "run": ("--stages", 2, "--microbatches", 2, "--output", tmp_path),
        "validate": ("--stages", 2, "--microbatches", 2, "--output", tmp_path),
    }[command]
    assert not complaints(chimera(command, *name, "--model", "gpt-tinny", *size), "gpt-tinny", "'gpt-tiny'", "mlp-tiny")


def written(path: Path, change: Any) -> Path:
    """A sound profile's file, changed."""
    save_profile(Profile.uniform(forward="1ms", backward="2ms"), path)
    document = json.loads(path.read_text())
    path.write_text(change(document) or json.dumps(document))
    return path


def test_a_misspelt_key_of_a_profile(chimera: Any, tmp_path: Path) -> None:
    def misspell(document: Any) -> None:
        cost = document["layers"][0]["costs"][0]
        cost["foward_ns"] = cost.pop("forward_ns")

    path = written(tmp_path / "profile.json", misspell)
    assert not complaints(
        chimera("simulate", "gpipe", *SIZE, "--profile", path), "layers.0.costs.0.foward_ns", "'forward_ns'"
    )


def test_a_negative_time_in_a_profile(chimera: Any, tmp_path: Path) -> None:
    def negate(document: Any) -> None:
        document["layers"][0]["costs"][0]["forward_ns"] = -5

    path = written(tmp_path / "profile.json", negate)
    assert not complaints(chimera("simulate", "gpipe", *SIZE, "--profile", path), "layers.0.costs.0.forward_ns", "-5")


def test_a_profile_cut_off(chimera: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "profile.json", lambda document: json.dumps(document)[:-20])
    assert not complaints(
        chimera("simulate", "gpipe", *SIZE, "--profile", path), "profile.json", "not JSON", "truncated"
    )


def test_a_profile_of_another_version(chimera: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "profile.json", lambda document: document.update(schema_version=99))
    assert not complaints(
        chimera("simulate", "gpipe", *SIZE, "--profile", path), "schema_version 99", "reads schema_version 1"
    )


def test_a_schedule_of_another_version(chimera: Any, tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    path.write_text('{"schema_version": 7}')
    assert not complaints(chimera("check", path), "schema_version", "7")


def test_a_schedule_cut_off(chimera: Any, tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    path.write_text('{"schema_version": 1, "schedule": "gpi')
    assert not complaints(chimera("check", path), "order.json", "cut off")


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "gpipe", *SIZE, *UNIFORM, "--trace"),
        ("simulate", "gpipe", *SIZE, *UNIFORM, "--plot"),
        ("compare", *SIZE, *UNIFORM, "--plot"),
        ("schedule", "gpipe", *SIZE, "--output"),
        ("calibrate", "--model", "mlp-tiny", "--stages", 2, "--microbatch-size", 1, "--output"),
        ("run", "gpipe", "--model", "mlp-tiny", "--stages", 2, "--microbatches", 2, "--output"),
        ("validate", "gpipe", "--model", "mlp-tiny", "--stages", 2, "--microbatches", 2, "--output"),
    ],
)
def test_an_unwritable_output_is_said_before_anything_is_computed(
    chimera: Any, monkeypatch: pytest.MonkeyPatch, folder_under_a_file: Path, arguments: tuple[object, ...]
) -> None:
    def must_not_run(*_arguments: object, **_options: object) -> None:
        raise AssertionError("computed before the output was tried")

    monkeypatch.setattr("chimera.simulator.simulate", must_not_run)
    for user in ("executor.training.train", "executor.verification.gradients", "calibration.measuring.session"):
        monkeypatch.setattr(f"chimera.{user}.launch", must_not_run)
    assert not complaints(chimera(*arguments, folder_under_a_file / "out.png"), "folder", "not a directory")


def test_a_picture_needs_a_format_that_can_be_drawn(chimera: Any, tmp_path: Path) -> None:
    assert not complaints(
        chimera("simulate", "gpipe", *SIZE, *UNIFORM, "--plot", tmp_path / "x.txt"), "x.txt", "png", "svg", "pdf"
    )
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(process: Any) -> None:
    done = process("--debug", "simulate", "chimaera", *SIZE, *UNIFORM)
    assert "Traceback" in done.stderr and "hint: did you mean 'chimera'" in done.stderr
    assert done.status == 2  # whoever debugs a script sees the status that the script saw


def test_debug_is_accepted_at_the_end_too(process: Any) -> None:
    assert "Traceback" in process("simulate", "chimaera", *SIZE, *UNIFORM, "--debug").stderr


def test_a_fault_of_ours_is_a_line_and_a_hint_too(chimera: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("chimera.simulator.simulate", broken)
    arguments = ("simulate", "gpipe", *SIZE, *UNIFORM)
    assert not complaints(chimera(*arguments), "error: KeyError: 'lost'", "hint", "--debug", status=1)
    assert "Traceback" in chimera("--debug", *arguments).stderr


def test_ctrl_c_is_130(chimera: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chimera.simulator.simulate", interrupted)
    done = chimera("simulate", "gpipe", *SIZE, *UNIFORM)
    assert not complaints(done, "interrupted; nothing is left running", status=130)


def test_a_reader_that_leaves_is_no_failure() -> None:
    arguments = ["simulate", "gpipe", *map(str, SIZE), *UNIFORM]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", "from chimera.cli import main; main()", *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 0 and "Traceback" not in done.stderr and "error" not in done.stderr


@pytest.mark.parametrize("size", [0, -3])
def test_a_calibration_of_no_samples_is_refused_before_ranks_start(
    chimera: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int
) -> None:
    monkeypatch.setattr(
        "chimera.calibration.measuring.session.launch", lambda *_, **__: pytest.fail("ranks were started")
    )
    done = chimera(
        "calibrate",
        "--model",
        "mlp-tiny",
        "--stages",
        2,
        "--microbatch-size",
        size,
        "--output",
        tmp_path / "profile.json",
    )
    assert not complaints(done, f"micro-batch size {size}", "hint")
    assert not (tmp_path / "profile.json").exists()
