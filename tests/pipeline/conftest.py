"""Schedule files written for a test."""

from __future__ import annotations

__all__ = ["Write", "write"]

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def keep(text: str, name: str = "schedule.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return keep
