"""Names and lines that others wrote are shown as text: no markup, no control sequence, however wide the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from chimera.cli.reports.output import print_table
from chimera.cli.reports.plain import visible

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("text", ["[enforce fail at alloc.cpp:117]", "[/blue/x]", "[red]red[/red]", "[/]"])
def test_a_cell_in_brackets_is_shown_whole(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(text, (text,), [(text,)])
    assert capsys.readouterr().out.count(text) == 3


def test_control_characters_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("tasks", ("reason",), [("\x1b[2Jgone\x07",)])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\\x1b[2Jgone\\x07" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Grüße, 試験", "Grüße, 試験"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("right\u202eto left", "right\\u202eto left"),
        ("\r over", "\\r over"),
    ],
)
def test_what_is_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("columns", ["abc", "-5", "0", "", "9" * 30, "\u0663"])
def test_a_width_that_cannot_be_meant_is_ignored(columns: str, process: Any) -> None:
    size = ("--stages", 2, "--microbatches", 2, "--forward", "1ms", "--backward", "2ms")
    done = process("compare", "dapple", *size, COLUMNS=columns)
    assert done.status == 0 and "dapple" in done.stdout


@pytest.mark.multiprocess
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_told_to_stop_keeps_its_losses(number: signal.Signals, tmp_path: Path) -> None:
    size = ("--stages", "2", "--microbatches", "2", "--steps", "100000", "--output", str(tmp_path))
    command = [sys.executable, "-m", "chimera", "run", "dapple", "--model", "mlp-tiny", *size]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background jobs ignore SIGINT
    )
    journals = [tmp_path / "ranks" / f"rank-{rank}.jsonl" for rank in range(2)]
    while not all(journal.exists() and journal.read_text().count("\n") > 5 for journal in journals):
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.1)
    running.send_signal(number)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 130 and "interrupted" in errors
    assert len((tmp_path / "losses.csv").read_text().splitlines()) > 3
