"""The guide tells the truth: its commands are accepted, and it names every key of a cluster profile."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from chimera.executor.cluster import Cluster

GUIDE = (Path(__file__).parents[2] / "docs" / "slurm.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]
TABLE = "".join(line for line in GUIDE.splitlines() if line.startswith("| `"))


@pytest.mark.parametrize(
    "line", [line for line in LINES if line.startswith("chimera slurm --") and "--array" not in line]
)
def test_its_commands_are_accepted(chimera: Any, line: str) -> None:
    _, _, *words = shlex.split(line)
    done = chimera("slurm", *([] if "--dry-run" in words else ["--dry-run"]), *words)
    assert done.status == 0, done.stderr


def test_it_names_every_key() -> None:
    hints = get_type_hints(Cluster)
    for section in fields(Cluster):
        inner = hints[section.name]
        keys = [item.name for item in fields(inner)] if is_dataclass(inner) else [section.name]
        missing = [key for key in keys if f"{key}`" not in TABLE]
        assert not missing, f"{section.name}: {missing}"
