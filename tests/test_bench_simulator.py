"""The benchmarks of predictions and generators run and print their tables; no timing is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bench_generation, bench_simulator
from benchmarks.turns import in_turns, ratio, shown

pytest.importorskip("torch")


def test_the_command_prints_and_writes_every_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench_simulator.main(["--quick", "--output", str(tmp_path / "found.md")])
    printed = capsys.readouterr().out
    assert (tmp_path / "found.md").read_text() == printed.removesuffix("\n")
    tables = [section.splitlines() for section in printed.split("## ")[1:]]
    assert len(tables) >= 5
    for title, _, head, _, *rows in tables:
        assert title and rows
        assert all(row.count("|") == head.count("|") for row in rows if row)


def test_generators_stand_beside_torchs(capsys: pytest.CaptureFixture[str]) -> None:
    bench_generation.main(["--stages", "4", "--microbatches", "8", "--rounds", "1"])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    beside_torch = {row[1].strip() for row in rows if row[6].strip()}
    assert beside_torch == {"gpipe", "dapple", "interleaved", "zb-v", "dualpipe-v"}


def test_contestants_take_turns() -> None:
    order: list[str] = []

    def busy(name: str) -> None:
        order.append(name)
        sum(range(3 * 10**6))

    found = in_turns({"a": lambda: busy("a"), "b": lambda: busy("b")}, 3)
    turns = [name for number, name in enumerate(order) if number == 0 or order[number - 1] != name]
    assert turns == ["a", "b"] * 3
    assert all(len(seconds) == 3 and min(seconds) > 0 for seconds in found.values())


def test_figures_are_medians_with_their_range() -> None:
    assert shown([3.0, 1.0, 2.0], 10) == "20.0 (10.0..30.0)"
    assert ratio([6.0, 8.0], [2.0, 4.0]) == [3.0, 2.0]
