"""`chimera slurm`: what is submitted follows from the inner command; what it would refuse never queues."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.executor.cluster.sites import calls, fake_program, path_with, says

SIZE = ("--model", "gpt-tiny", "--microbatches", "8")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    fake_program(folder, "sbatch", "echo 12")
    fake_program(folder, "squeue", "echo '12|PENDING'")
    fake_program(folder, "scancel", "")
    monkeypatch.setenv("PATH", path_with(folder))
    return folder


@pytest.mark.parametrize(
    ("inner", "nodes", "ranks"),
    [
        (("run", "chimera", "--stages", "2", *SIZE), 2, 2),
        (("run", "chimera", "--stages=2", "--width=2", *SIZE), 4, 4),
        (("validate",), 2, 2),
        (("chimera", "validate", "dapple", "--stages", "4"), 4, 4),
        (("calibrate", "--model", "gpt-tiny", "--stages", "3", "--microbatch-size", "1"), 3, 3),
        (("schedules",), 1, 1),
    ],
)
def test_nodes_and_tasks_follow_from_the_command(chimera: Any, inner: tuple[str, ...], nodes: int, ranks: int) -> None:
    done = chimera("slurm", "--dry-run", "--", *inner)
    assert done.status == 0
    assert f"#SBATCH --nodes={nodes}\n#SBATCH --ntasks={ranks}\n" in done.stdout


def test_a_schedules_file_says_itself_how_many_ranks_it_needs(chimera: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    chimera("schedule", "chimera", "--stages", 4, "--microbatches", 4, "--format", "json", "--output", file)
    done = chimera("slurm", "--dry-run", "--", "run", file, "--model", "gpt-tiny")
    assert "#SBATCH --ntasks=4\n" in done.stdout


def test_files_named_in_a_command_become_absolute(
    chimera: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chimera("schedule", "chimera", "--stages", 4, "--microbatches", 4, "--format", "json", "--output", "mine.json")
    assert (
        f"(run {tmp_path}/mine.json "
        in chimera("slurm", "--dry-run", "--", "run", "mine.json", "--model", "gpt-tiny").stdout
    )


def test_a_dry_run_touches_nothing(chimera: Any, slurm: Path, tmp_path: Path) -> None:
    done = chimera("slurm", "--dry-run", "--output", tmp_path / "job", "--", "validate")
    assert done.status == 0 and done.stdout.startswith("#!/bin/bash\n")
    assert not (tmp_path / "job").exists() and calls(slurm) == []


def test_submit_status_cancel(chimera: Any, slurm: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    done = chimera("slurm", "--output", job, "--json", "--", "validate")
    assert (done.status, done.document["job"], done.document["commands"]) == (0, 12, ["chimera validate"])
    assert f"chimera slurm status {job}" in done.stderr
    pending = chimera("slurm", "status", job, "--json")
    assert (pending.status, pending.document["tasks"][0]["state"]) == (0, "pending")
    assert chimera("slurm", "cancel", job, "--json").document["cancelled"] == [0]
    assert [line.split()[0] for line in calls(slurm)] == ["sbatch", "squeue", "squeue", "scancel"]


def test_status_fails_where_a_task_failed(chimera: Any, slurm: Path, tmp_path: Path) -> None:
    chimera("slurm", "--output", tmp_path / "job", "--", "validate")
    says(tmp_path / "job", 0, "failed", "1", "error: rank 1 failed")
    done = chimera("slurm", "status", tmp_path / "job")
    assert done.status == 1 and "error: rank 1 failed" in done.stdout


def test_an_array_has_a_task_a_line(chimera: Any, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text(
        "# a comment\nchimera run gpipe --model gpt-tiny --stages 2 --microbatches 2 --output 'out/a'\n\nschedules\n"
    )
    done = chimera("slurm", "--dry-run", "--array", lines, "--at-once", 1)
    assert "#SBATCH --array=0-1%1\n" in done.stdout
    assert re.findall(r"command=\((.*)\)", done.stdout)[1] == "schedules"


def test_two_lines_that_write_to_the_same_place_are_refused(chimera: Any, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("schedules\nvalidate gpipe\nvalidate dapple\n")
    done = chimera("slurm", "--dry-run", "--array", lines)
    assert done.status == 2
    assert "tasks 1 and 2: both write to out/validate" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--", "run", "chimera", "--stages", "2", "--modle", "x"), "unknown option --modle of chimera run"),
        (("--", "run", "chimera", "--stages", "2"), "chimera run without --model"),
        (("--", "train"), "unknown command 'train'"),
        (("--", "slurm", "--", "validate"), "chimera slurm inside chimera slurm"),
        ((), "no command"),
        (("--cluster", "nowhere", "--", "validate"), "unknown cluster 'nowhere'"),
        (("--set", "request.tiem=1h", "--", "validate"), "request.tiem"),
        (("--", "validate", "--stages", "8"), "need 8 nodes where a job may have 4"),
        (("--array", "/no/such/file"), "cannot be read"),
        (("--at-once", "0", "--", "validate"), "would never start a task"),
        (("status",), "status takes one folder"),
        (("status", "/no/such/folder"), "holds no submitted job"),
    ],
)
def test_what_is_wrong_is_said_before_anything_queues(
    chimera: Any, slurm: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = chimera("slurm", "--output", tmp_path / "job", *arguments)
    assert done.status == 2 and said in done.stderr
    assert calls(slurm) == [] and not (tmp_path / "job").exists()


def test_without_slurm_one_line_and_a_hint(chimera: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = chimera("slurm", "--output", tmp_path / "job", "--", "validate")
    assert done.status == 2
    assert done.stderr.splitlines() == [
        "error: sbatch: is not on this machine's PATH",
        "hint: submit on a login node of the cluster; --dry-run shows the script anywhere",
    ]
