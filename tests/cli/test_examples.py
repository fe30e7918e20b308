"""Every example that a help text shows is a command that works."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from chimera.cli.inner_command import task_of
from chimera.simulator import load_profile, save_profile

COMMANDS = (
    "app",
    *(
        f"{name}_command"
        for name in (
            "schedules",
            "schedule",
            "check",
            "simulate",
            "compare",
            "calibrate",
            "run",
            "validate",
            "models",
            "slurm",
        )
    ),
)
RANKED = ("run", "validate", "calibrate")
CLUSTER = """schema_version = 1
name = "mine"

[nodes]
ranks_per_node = 8
"""


def examples() -> list[list[str]]:
    found = []
    for module in COMMANDS:
        text = import_module(f"chimera.cli.{module}")
        lines = (line.strip() for line in (getattr(text, "HELP", None) or text._HELP).splitlines())
        found += [shlex.split(line)[1:] for line in lines if line.startswith("chimera ")]
    return found


@pytest.fixture(autouse=True)
def _files(chimera: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that examples name."""
    monkeypatch.chdir(tmp_path)
    save_profile(load_profile("bert-large-v100"), Path("profile.json"))
    Path("my-cluster.toml").write_text(CLUSTER)
    Path("commands.txt").write_text(
        "chimera simulate dapple --stages 2 --microbatches 4 --forward 1ms --backward 2ms\n"
    )
    for form in ("csv", "json"):
        chimera(
            "schedule", "interleaved", "--stages", 2, "--microbatches", 4, "--format", form, "--output", f"order.{form}"
        )


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_an_example_works(chimera: Any, words: list[str]) -> None:
    """Those that start ranks are checked as for a cluster; those of jobs are rendered, not submitted."""
    if words[0] in RANKED:
        assert task_of(words).ranks >= 1
    elif words[:2] in (["slurm", "status"], ["slurm", "cancel"]):
        assert chimera(*words).status == 2  # there is no job yet
    else:
        more = ["--dry-run"] if words[0] == "slurm" and "--dry-run" not in words else []
        done = chimera(words[0], *more, *words[1:])
        assert done.status == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("schedules",),
        ("models",),
        ("models", "bert-48"),
        ("simulate", "dapple", "--stages", 2, "--microbatches", 4, "--forward", "1ms", "--backward", "2ms"),
        ("simulate", "interleaved", "--stages", 2, "--microbatches", 4, "--profile", "profile.json"),
        ("compare", "dapple", "gpipe", "--stages", 2, "--microbatches", 4, "--profile", "profile.json"),
    ],
    ids=" ".join(("schedules", "models", "model", "uniform", "profile", "compare")).split(),
)
def test_the_next_command_works_as_it_is_printed(chimera: Any, arguments: tuple[object, ...]) -> None:
    (found,) = re.findall("next: chimera (.*)", chimera(*arguments).stderr)
    words = shlex.split(found)
    if words[0] in RANKED:
        assert task_of(words).ranks >= 1
    else:
        assert chimera(*words).status == 0
