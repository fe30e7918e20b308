"""The public face: the documented names are the exported ones, each is in one place, and every example runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import chimera
import chimera.lowlevel

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text()
_DOCUMENTED = re.findall(r"^### (\w+)$", PAGE, flags=re.M)
_EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.M | re.S)


def test_the_documented_names_are_the_exported_ones() -> None:
    assert sorted(_DOCUMENTED) == sorted(set(chimera.__all__) - {"__version__"})


def test_every_name_has_its_example() -> None:
    missing = [name for name in _DOCUMENTED if not any(f"chimera.{name}" in example for example in _EXAMPLES)]
    assert not missing


@pytest.mark.parametrize("face", [chimera, chimera.lowlevel])
def test_every_exported_name_is_there(face: object) -> None:
    for name in face.__all__:  # type: ignore[attr-defined]
        assert getattr(face, name) is not None
    assert dir(face) == sorted(face.__all__)  # type: ignore[attr-defined]


def test_no_name_is_on_both_faces() -> None:
    assert not set(chimera.__all__) & set(chimera.lowlevel.__all__)


def test_a_name_that_does_not_exist_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'chimera' has no attribute 'simulat'"):
        chimera.simulat  # noqa: B018


def test_importing_it_loads_neither_torch_nor_matplotlib_nor_a_room() -> None:
    code = (
        "import chimera, sys\n"
        "heavy = [m for m in ('torch', 'matplotlib', 'numpy', 'simpy', 'pydantic') if m in sys.modules]\n"
        "print(heavy + [m for m in sys.modules if m.startswith('chimera.') and m != 'chimera._lazy'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.multiprocess
def test_every_example_of_the_page_runs(tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n".join(_EXAMPLES))
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
