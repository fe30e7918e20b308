"""The command as a user has it: arguments in, exit status, stdout and stderr out."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chimera.cli import main

ROOT = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """stdout as the one JSON document it must be, without NaN and infinities."""

        def refuse(constant: str) -> None:
            raise ValueError(f"{constant} is not JSON")

        found: dict[str, Any] = json.loads(self.stdout, parse_constant=refuse)
        return found


Chimera = Callable[..., Outcome]


@pytest.fixture
def chimera(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Chimera:
    """Runs `chimera ARGUMENTS...` in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["chimera", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "150")  # whatever the terminal, or who runs the tests, has
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        stdout, stderr = capsys.readouterr()
        return Outcome(code if isinstance(code, int) else int(code is not None), stdout, stderr)

    return run


@pytest.fixture
def process() -> Chimera:
    """Runs `chimera ARGUMENTS...` in a process of its own; `before` is Python to run first, `after` last."""

    def run(*arguments: object, before: str = "", after: str = "", **environment: str) -> Outcome:
        import os

        script = f"{before}\nfrom chimera.cli import main\ntry:\n    main()\nfinally:\n    {after or 'pass'}"
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def folder_under_a_file(tmp_path: Path) -> Path:
    """A folder that cannot be made, even by root: its parent is a file."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "folder"
