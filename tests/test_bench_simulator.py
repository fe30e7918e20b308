"""The benchmarks of predictions and generators run and print their tables; no timing is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bench_generation, bench_simulator
from benchmarks.goals import Goal, goal_table
from benchmarks.turns import in_turns, ratio, shown

pytest.importorskip("torch")


PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def test_the_command_prints_every_table_and_puts_them_into_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    bench_simulator.main(["--quick", "--markdown", "--page", str(page)])
    printed = capsys.readouterr().out
    assert printed.strip() in page.read_text() and page.read_text().startswith(PAGE.read_text()[:1000])
    assert "load average" in printed.splitlines()[0]
    tables = [section.splitlines() for section in printed.split("### ")[1:]]
    assert len(tables) == 7 and tables[0][0] == "Goals"
    for title, _, head, _, *rows in tables:
        assert title and rows
        assert all(row.count("|") == head.count("|") for row in rows if row)


def test_generators_stand_beside_torchs(capsys: pytest.CaptureFixture[str]) -> None:
    bench_generation.main(["--stages", "4", "--microbatches", "8", "--rounds", "1"])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    beside_torch = {row[1].strip() for row in rows if row[6].strip()}
    assert beside_torch == {"gpipe", "dapple", "interleaved", "zb-v", "dualpipe-v"}


def test_goals_say_whether_the_median_keeps_them() -> None:
    goals = [Goal("time", 4, "us", [3.0, 5.0, 1.0]), Goal("ratio", 1, "", [0.5, 2.0, 0.75], at_least=True)]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in goal_table(goals).splitlines()[2:]]
    assert rows == [
        ["time", "at most 4 us", "3.00 (1.00..5.00)", "0.75", "met"],
        ["ratio", "at least 1", "0.75 (0.50..2.00)", "0.75", "missed"],
    ]


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
