"""The README tells the truth: its commands run, its Python runs, its files exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("chimera ")
]
NEEDS_RANKS = ("calibrate", "run", "validate")


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


@pytest.mark.multiprocess
@pytest.mark.slow
def test_every_command_runs_in_order(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 9
    for line in COMMANDS:
        done = run([sys.executable, "-c", "from chimera.cli import main; main()", *shlex.split(line)[1:]], tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (tmp_path / "out" / "compare.png").stat().st_size > 10_000


def test_the_python_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = run([sys.executable, "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "trace.json").exists()


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)
