"""What cannot work is refused before anything starts, here and on behalf of a cluster alike, each time in one form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chimera.executor.ranks.folder_lock import locked

SIZE = ("--stages", "2", "--microbatches", "4")
TINY = ("--model", "gpt-tiny")
UNIFORM = ("--forward", "1ms", "--backward", "2ms")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "dappel", *TINY, *SIZE), "did you mean 'dapple'"),
        (("run", "dapple", "--model", "gpt-tinny", *SIZE), "did you mean 'gpt-tiny'"),
        (("run", "dapple", *TINY, "--stages", "20", "--microbatches", "4"), "20 stages for 10 layers"),
        (("run", "chimera", *TINY, "--stages", "3", "--microbatches", "4"), "an even number"),
        (("run", "dapple", *TINY, *SIZE, "--set", "pairs=2"), "unknown option of dapple 'pairs'"),
        (("run", "dapple", *TINY, *SIZE, "--optimizer", "adamm"), "did you mean 'adamw'"),
        (("run", "dapple", *TINY, *SIZE, "--momentum", "0.9"), "momentum 0.9 with adamw"),
        (("run", "dapple", *TINY, *SIZE, "--decay", "cosin"), "did you mean 'cosine'"),
        (("run", "dapple", *TINY, *SIZE, "--learning-rate", "0"), "teaches nothing"),
        (("run", "dapple", *TINY, *SIZE, "--precision", "float16"), "unknown precision"),
        (("run", "dapple", *TINY, *SIZE, "--data", "digits"), "is no text"),
        (("run", "pipedream", *TINY, *SIZE, "--clip-norm", "1"), "clipping by the global norm"),
        (("run", "dapple", *TINY, *SIZE, "--partition", "1,2"), "3 layers"),
        (("run", "dapple", *TINY, *SIZE, "--deadline", "0s"), "no time at all"),
        (("run", "dapple", *TINY, *SIZE, "--steps", "0"), "below 1"),
        (("run", "dapple", *TINY, *SIZE, "--compute", "pace"), "did you mean 'paced'"),
        (("validate", "chimera", "--stages", "3"), "an even number"),
        (("validate", "dapple", "gpipe", "--set", "pairs=2"), "unknown option of dapple, gpipe 'pairs'"),
        (("validate", "chimera", "--set", "concat=twice"), "concat"),
        (("validate", "dapple", "--stages", "20"), "20 stages for 10 layers"),
        (("validate", "--model", "gpt-tinny"), "did you mean 'gpt-tiny'"),
        (("validate", "--budget", "0s"), "no time at all"),
        (("validate", "--tolerance", "5"), "not a positive percentage"),
        (("validate", "--microbatch-size", "0"), "leaves nothing to compute"),
        (("validate", "--compute", "pace"), "did you mean 'paced'"),
        (("calibrate", *TINY, "--stages", "20", "--microbatch-size", "2"), "20 stages for 10 layers"),
        (("calibrate", *TINY, "--stages", "2", "--microbatch-size", "0"), "leaves nothing to compute"),
        (("calibrate", *TINY, "--stages", "2", "--microbatch-size", "2", "--budget", "0s"), "no time at all"),
        (("calibrate", *TINY, "--stages", "2", "--microbatch-size", "2", "--device", "tpu"), "device 'tpu'"),
    ],
)
def test_a_cluster_is_not_asked_for_what_would_be_refused(
    chimera: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    """Said once, in the same words, with nothing started, made or submitted."""
    monkeypatch.chdir(tmp_path)
    here = chimera(*arguments)
    there = chimera("slurm", "--dry-run", "--", *arguments)
    assert (here.status, there.status) == (2, 2)
    assert said in here.stderr and here.stderr == there.stderr
    assert not list(tmp_path.iterdir()) and "running" not in here.stderr


def test_a_data_folder_may_be_the_clusters_own(chimera: Any) -> None:
    images = ("--model", "cnn", "--data", "cifar-10", "--data-dir", "/data/of/the/cluster")
    done = chimera("slurm", "--dry-run", "--", "run", "dapple", *images, *SIZE)
    assert done.status == 0 and "/data/of/the/cluster is not here; the job will look for it" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("run", "dapple", *SIZE),
        ("validate", "dapple", "--compute", "paced", *SIZE),
        ("calibrate", "--stages", "1", "--microbatch-size", "1"),
    ],
)
def test_a_model_that_cannot_fit_is_refused_before_a_rank_starts(
    chimera: Any, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """175 billion parameters with gradients and two moments in float32 are 2.5 TiB."""
    done = chimera(*command, "--model", "gpt-3-175b", "--output", tmp_path / "run")
    assert done.status == 2 and "TiB" in done.stderr and "left" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("simulate",), "chimera simulate without NAME"),
        (("compare",), "chimera compare without --stages"),
        (("simulate", "dapple", "--stages"), "--stages"),
        (("simulate", "dapple", "--enginee", "auto"), "did you mean --engine?"),
        (("simulate", "dapple", *SIZE, *UNIFORM, "--engine", "simpie"), "did you mean 'simpy'?"),
        (("check", "one.csv", "two.csv"), "extra argument"),
        (("simulate", "dapple", *SIZE, *UNIFORM, "--stages", "4"), "--stages 2 --stages 4: says two things"),
        (("simulate", "dapple", *SIZE, "--forward", "0.1ns", "--backward", "2ms"), "less than half a ns"),
        (("simulate", "dapple", *SIZE, *UNIFORM, "--capacity", "0GiB"), "holds nothing"),
        (("simulate", "dapple", *SIZE, *UNIFORM, "--samples", "9", "--jitter", "500%"), "at most 100%"),
        (("schedule", "dapple", *SIZE, "--json", "--format", "csv"), "are two forms"),
        (("slurm", "--dry-run", "--set", "request.time=0min", "--", "schedules"), "no time at all"),
    ],
)
def test_wrong_usage_is_an_error_and_a_hint(chimera: Any, arguments: tuple[str, ...], said: str) -> None:
    done = chimera(*arguments)
    lines = done.stderr.splitlines()
    assert done.status == 2 and said in done.stderr and not done.stdout
    assert [line.split(":")[0] for line in lines] == ["error", "hint"]


def test_an_option_may_be_given_twice_if_it_says_the_same(chimera: Any) -> None:
    assert chimera("schedule", "dapple", *SIZE, "--stages", "2").status == 0


def test_a_schedule_is_json_for_programs(chimera: Any) -> None:
    ours, theirs = (
        chimera("schedule", "dapple", *SIZE, "--json"),
        chimera("schedule", "dapple", *SIZE, "--format", "json"),
    )
    assert ours.document == theirs.document and ours.document["schedule"] == "dapple"


def test_a_calibration_leaves_the_folder_of_another_one_that_is_under_way(chimera: Any, tmp_path: Path) -> None:
    ranks = tmp_path / "profile-ranks" / "ranks"
    ranks.mkdir(parents=True)
    (ranks / "rank-0.jsonl").write_text("what the other one has measured")
    with locked(ranks):
        done = chimera("calibrate", *TINY, "--stages", 2, "--microbatch-size", 2, "--output", tmp_path / "profile.json")
    assert done.status == 2 and "is running in it" in done.stderr
    assert (ranks / "rank-0.jsonl").read_text() == "what the other one has measured"
