"""Tables of `compare`: the columns that say something, as many as fit the terminal, the rest named."""

from __future__ import annotations

from typing import Any

import pytest

COMPARE = ("compare", "gpipe", "dapple", "--stages", 4, "--microbatches", 8)
UNIFORM = ("--forward", "1ms", "--backward", "2ms")


def width_of(table: str) -> int:
    return max(len(line.rstrip()) for line in table.splitlines())


def test_columns_without_a_figure_are_left_out(chimera: Any) -> None:
    """Equal stages know no memory; schedules with a flush have no steady state beside their iteration."""
    shown = chimera(*COMPARE, *UNIFORM).stdout
    assert "closed form" in shown and "peak memory" not in shown and "steady state" not in shown


def test_the_steady_state_of_schedules_without_a_flush_is_shown(chimera: Any) -> None:
    """PipeDream, equal stages: N (F + B) = 24 ms back to back, (N + D - 1)(F + B) = 33 ms with fill and drain."""
    shown = chimera("compare", "gpipe", "pipedream", *COMPARE[3:], *UNIFORM)
    (row,) = [line for line in shown.stdout.splitlines() if "pipedream" in line]
    assert [cell.strip() for cell in row.split("│")[1:4]] == ["pipedream", "33 ms", "24 ms"]
    assert "steady state: back to back" in shown.stderr


@pytest.mark.parametrize("columns", [60, 80, 100, 120])
def test_a_table_fits_its_terminal_and_says_what_is_missing(process: Any, columns: int) -> None:
    done = process(*COMPARE, "--profile", "bert-large-v100", COLUMNS=str(columns))
    assert width_of(done.stdout) <= columns
    assert all(name in done.stdout for name in ("schedule", "iteration", "bubble ratio", "dapple"))
    missing = done.stderr.partition("too narrow for ")[2].partition(":")[0].split(", ") if columns < 120 else []
    assert all(name not in done.stdout for name in missing if name)
