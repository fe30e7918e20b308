"""Start-up: what a command loads, how long that takes, and what it writes where."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.slowness import slowness

SIZE = ("--stages", 4, "--microbatches", 4)
UNIFORM = ("--forward", "1ms", "--backward", "2ms")
HEAVY = ("torch", "matplotlib")
COMMANDS = ("schedules", "schedule", "check", "simulate", "compare", "calibrate", "run", "validate", "slurm")
_LOADED = "import sys; print([n for n in ('torch', 'matplotlib') if n in sys.modules], file=sys.stderr)"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("schedules",),
        ("schedule", "chimera", *SIZE),
        ("simulate", "chimera", *SIZE, *UNIFORM),
        ("compare", *SIZE, *UNIFORM),
    ],
)
def test_neither_torch_nor_matplotlib_is_loaded(process: Any, arguments: tuple[object, ...]) -> None:
    done = process(*arguments, after=_LOADED)
    assert done.status == 0
    assert done.stderr.splitlines()[-1] == "[]"


def test_compare_works_without_torch_and_matplotlib(process: Any) -> None:
    block = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in HEAVY)
    done = process("compare", *SIZE, *UNIFORM, "--json", before=block)
    assert done.status == 0 and done.document["cases"]


def test_plot_loads_matplotlib_when_it_is_asked_for(process: Any, tmp_path: Path) -> None:
    done = process("simulate", "chimera", *SIZE, *UNIFORM, "--plot", tmp_path / "x.png", after=_LOADED)
    assert done.status == 0
    assert done.stderr.splitlines()[-1] == "['matplotlib']"
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_help_is_there_in_half_a_second() -> None:
    """The best of three: what is asked is what the command loads, not how busy the machine is."""
    best = min(_seconds_of_help() for _ in range(3))
    assert best < 0.5 * slowness()


def _seconds_of_help() -> float:
    started = time.perf_counter()
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", "from chimera.cli import main; main()", "--help"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - started


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_before_options(chimera: Any, command: str) -> None:
    done = chimera(command, "--help")
    assert done.status == 0
    assert done.stdout.index(f"chimera {command}", done.stdout.index("Examples")) < done.stdout.index("Options")


def test_the_commands_that_are_listed_exist(chimera: Any) -> None:
    text = chimera("--help").stdout
    assert all(f" {command} " in text for command in COMMANDS)
    assert not any(f" {command} " in text for command in ("plan", "study", "report"))


def test_json_is_alone_on_stdout(process: Any) -> None:
    for arguments in (
        ("schedules",),
        ("simulate", "chimera", *SIZE, *UNIFORM, "--samples", 3),
        ("compare", *SIZE, *UNIFORM),
    ):
        assert process(*arguments, "--json").document


def test_no_colour_where_none_is_wanted(process: Any) -> None:
    done = process("compare", *SIZE, *UNIFORM, NO_COLOR="1", FORCE_COLOR="1", TTY_COMPATIBLE="1")
    # rich may still write bold: NO_COLOR (no-color.org) is about colours only
    assert not any(f"\x1b[{code}" in done.stdout for code in (*range(30, 38), *range(90, 98)))


def test_nothing_is_written_where_nothing_was_asked_for(
    chimera: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (("simulate", "chimera", *SIZE, *UNIFORM), ("compare", *SIZE, *UNIFORM), ("schedules",)):
        assert chimera(*arguments).status == 0
    assert not list(tmp_path.iterdir())


def test_hints_and_assumptions_are_no_data(chimera: Any) -> None:
    done = chimera("simulate", "chimera", *SIZE, *UNIFORM)
    assert "next:" in done.stderr and "next:" not in done.stdout
