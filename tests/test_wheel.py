"""The package as users install it: what the wheel and the sdist hold, and commands in a folder full of namesakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import chimera

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
ROOMS = ("pipeline", "simulator", "executor", "calibration", "cli")
_SIZE = ("--stages", "4", "--microbatches", "4", "--forward", "1ms", "--backward", "2ms")


class Installed(NamedTuple):
    """An environment that has the wheel, and a folder to work in whose files are named like our rooms."""

    bin: Path
    folder: Path

    def __call__(self, program: str, *arguments: str) -> str:
        """What a program of the environment prints in that folder; whatever it says on stderr is in the failure."""
        # PYTHONPATH would let it find the repository instead of the wheel.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [self.bin / program, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def _python(*arguments: object) -> None:
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _wheel_of(source: Path, folder: Path) -> Path:
    _python("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _wheel_of(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    _python("-m", "hatchling", "build", "--target", "sdist", "--directory", folder)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Only the wheel is installed; its dependencies are those of the environment that runs the tests."""
    root = tmp_path_factory.mktemp("installed")
    environment, folder = root / "environment", root / "work"
    _python("-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    _python("-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (packages,) = environment.glob("lib/python*/site-packages")
    # A path file is not read for path files of its own: the editable install that may be there is not seen.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    _fill_with_namesakes(folder)
    return Installed(environment / "bin", folder)


def _fill_with_namesakes(folder: Path) -> None:
    (folder / "executor").mkdir(parents=True)
    for name in ("pipeline.py", "simulator.py", "executor/__init__.py", "cli.py", "calibration.py"):
        (folder / name).write_text(f"raise RuntimeError('{name} of the user was imported')\n")


def _members(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_chimera_and_its_metadata_and_nothing_else_at_its_top(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in _members(wheel)}
    assert tops == {"chimera", f"chimera_pipeline-{chimera.__version__}.dist-info"}


def test_the_wheel_holds_every_file_of_every_room(wheel: Path) -> None:
    kept = {
        f"chimera/{path.relative_to(ROOT)}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", ".json", ".toml")
    }
    assert len(kept) > 200
    assert not kept - _members(wheel)
    assert {"chimera/__init__.py", "chimera/__main__.py", "chimera/py.typed"} <= _members(wheel)


def test_the_sdist_holds_what_the_project_is_built_tested_and_read_with(sdist: Path) -> None:
    top = f"chimera_pipeline-{chimera.__version__}/"
    with tarfile.open(sdist) as archive:
        names = {name.removeprefix(top) for name in archive.getnames()}
    needed = {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "constraints.txt", "pyproject.toml"}
    assert not {*needed, "tests/test_wheel.py", "docs/design.md", "chimera/py.typed"} - names
    assert not [room for room in ROOMS if f"chimera/{room}/__init__.py" not in names]
    assert not [name for name in names if name.startswith((".venv", "out/")) or "__pycache__" in name]


def test_a_wheel_made_of_the_sdist_is_the_same(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    again = _wheel_of(sdist, tmp_path)
    assert again.name == wheel.name and _members(again) == _members(wheel)


def test_the_wheel_is_what_is_imported(installed: Installed) -> None:
    files = installed("python", "-c", "import chimera, chimera.executor as e; print(chimera.__file__, e.__file__)")
    assert all(path.startswith(str(installed.bin.parent)) for path in files.split())


def test_a_program_predicts_in_a_folder_of_namesakes(installed: Installed) -> None:
    # Chimera, B = 2F: its bubble ratio is (D - 2) / (3N/2 + D - 2) (paper, table 2), a third at D = N = 8, and
    # N (F + B) = 24 ms are work.
    code = (
        "import chimera; p = chimera.simulate(chimera.build('chimera', stages=8, microbatches=8), "
        "chimera.Profile.uniform(forward='1ms', backward='2ms')); print(p); print(p.timeline.end_ns)"
    )
    text, end_ns = installed("python", "-c", code).rsplit("\n", 2)[:2]
    assert text and int(end_ns) == 36_000_000


def test_the_command_predicts_in_a_folder_of_namesakes(installed: Installed) -> None:
    # Chimera, D = N = 4, B = 2F: 16 units of F (paper, table 2)
    document = json.loads(installed("chimera", "simulate", "chimera", *_SIZE, "--json"))
    assert document["iteration_s"] == pytest.approx(0.016)


@pytest.mark.multiprocess
def test_real_ranks_run_in_a_folder_of_namesakes(installed: Installed) -> None:
    words = ("--model", "mlp-tiny", "--stages", "2", "--microbatches", "2", "--steps", "2", "--output", "out")
    document = json.loads(installed("chimera", "run", "dapple", *words, "--json"))
    assert document["compute"] == "real" and len(document["losses"]) == 2


def test_python_m_chimera_is_the_command(installed: Installed) -> None:
    help_text = installed("python", "-m", "chimera", "--help")
    assert help_text == installed("chimera", "--help") and "chimera simulate" in help_text


def test_the_version_is_the_one_of_the_package(installed: Installed) -> None:
    code = "import chimera, importlib.metadata as m; print(chimera.__version__, m.version('chimera-pipeline'))"
    assert installed("python", "-c", code).split() == [chimera.__version__] * 2
    for words in (("chimera", "--version"), ("python", "-m", "chimera", "--version")):
        assert installed(*words) == f"chimera {chimera.__version__}\n"


def test_no_module_is_ever_loaded_under_a_short_name(installed: Installed) -> None:
    """Every module of the package is imported in one process: none brings a room in by another name."""
    code = (
        "import chimera, importlib, pkgutil, sys\n"
        "for module in pkgutil.walk_packages(chimera.__path__, 'chimera.'):\n"
        "    module.name.endswith('__main__') or importlib.import_module(module.name)\n"
        f"print(len([m for m in sys.modules if m.startswith('chimera.')]), *set({ROOMS}) & set(sys.modules))"
    )
    count, *short = installed("python", "-c", code).split()
    assert int(count) > 200 and not short


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_refuses_its_short_name(room: str) -> None:
    """In the root of the repository, where Python finds the folders; no class may exist under two names."""
    done = subprocess.run([sys.executable, "-c", f"import {room}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    sentence = f"ImportError: this folder is `chimera.{room}`: import it by that name"
    assert done.stderr.splitlines()[-1] == sentence


def test_type_checkers_read_our_annotations(installed: Installed) -> None:
    """PEP 561: an installed package is typed for its users only where it has py.typed."""
    code = "import importlib.resources as r; print((r.files('chimera') / 'py.typed').is_file())"
    assert installed("python", "-c", code) == "True\n"
