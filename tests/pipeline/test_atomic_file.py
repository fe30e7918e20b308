"""Files appear whole or not at all, under a name that nobody can have taken before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from chimera.pipeline.errors import InputError
from chimera.pipeline.files.atomic_file import atomic_path, write_text


def test_two_temporary_names_differ_and_nothing_is_left(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    with atomic_path(target) as one, atomic_path(target) as other:
        assert one != other and one.suffix == ".json" and one.read_bytes() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_link_that_waits_under_the_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chimera.pipeline.files.atomic_file.token_hex", lambda _: "known")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f".{os.uname().nodename}-{os.getpid()}.known.a.txt").symlink_to(victim)
    with pytest.raises(InputError, match="cannot be written: File exists"):
        write_text(tmp_path / "a.txt", "overwritten")
    assert victim.read_text() == "precious"


def test_a_name_that_is_too_long_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        write_text(tmp_path / ("n" * 300), "")
