"""A run that is killed and resumed is the run that was never killed, bit for bit, whenever it is killed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.jobs.manifest import checkpoint_folder, read_manifest, refuse_misfit
from chimera.executor.jobs.results import losses
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError, RunError
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import MLP, config_dict
from chimera.pipeline.schedules import build

MODEL = MLP("mlp", blocks=6, hidden=32, features=16, classes=4)
NAMES = ("dapple", "chimera", "pipedream-2bw")


def _job(names: tuple[str, ...] = NAMES, stages: int = 2, **more: Any) -> Job:
    cases = tuple(Case(name, schedule_json(build(name, stages=stages, microbatches=4)), 4) for name in names)
    settings = {"restart": True, "memory": False, "checkpoint_every": 2, "rounds": 5, **more}
    return Job(config_dict(MODEL), cases, optimizer="adamw", decay="cosine", rate_steps=5, **settings)


JOB = _job()


def _train(job: Job, output: Path) -> Any:
    return launch("chimera.executor.jobs.job:run_job", job.payload(), ranks=2, output=output, deadline_s=240)


def _states(output: Path) -> list[Any]:
    """What the checkpoint holds, rank by rank."""
    manifest = read_manifest(output)
    assert manifest is not None
    folder = checkpoint_folder(output) / manifest.folder
    return [torch.load(folder / name, weights_only=True) for name in sorted(manifest.files)]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted")
    results = _train(JOB, output)
    manifest = read_manifest(output)
    assert manifest is not None and manifest.step == 5
    assert manifest.losses == {name: losses(results, name) for name in NAMES}
    return output


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize(
    ("rank", "at", "nth", "left"),
    [
        (1, "_settle", 2, 2),  # rank 1's second file is written under its temporary name
        (0, "_settle", 4, 2),  # the second manifest is (each checkpoint settles two files of rank 0)
        (0, "_clear", 2, 4),  # the second manifest is in place, and the first checkpoint's files still there
    ],
)
def test_killed_during_a_checkpoint_and_resumed(
    uninterrupted: Path, tmp_path: Path, rank: int, at: str, nth: int, left: int
) -> None:
    payload = {"job": JOB.payload(), "rank": rank, "at": at, "nth": nth}
    with pytest.raises(RunError, match=f"rank {rank} was killed by SIGKILL"):
        launch("tests.executor.targets:train_and_die", payload, ranks=2, output=tmp_path, deadline_s=240)
    manifest = read_manifest(tmp_path)
    assert manifest is not None and manifest.step == left
    _train(replace(JOB, resume=True), tmp_path)
    assert _same(_states(tmp_path), _states(uninterrupted))
    assert read_manifest(tmp_path) == read_manifest(uninterrupted)
    names = {path.name for path in checkpoint_folder(tmp_path).iterdir()}
    assert names == {"manifest.json", "step-00000005"}, "nothing half-written is left"


@pytest.mark.multiprocess
def test_what_a_checkpoint_holds(uninterrupted: Path) -> None:
    states = _states(uninterrupted)
    assert [set(state["cases"]) for state in states] == [set(NAMES)] * 2
    held = {name: [sorted(state["cases"][name]["stages"]) for state in states] for name in NAMES}
    assert held == {"dapple": [[0], [1]], "chimera": [[0, 1], [0, 1]], "pipedream-2bw": [[0], [1]]}
    for name, versions in (("dapple", 1), ("pipedream-2bw", 2)):
        stage = states[0]["cases"][name]["stages"][0]
        assert sum(stage[version] is not None for version in ("newest", "previous")) == versions
        assert set(stage["optimizer"][0]) == {"step", "exp_avg", "exp_avg_sq"} and stage["optimizer"][0]["step"] == 5
    chimera = [state["cases"]["chimera"]["stages"][0]["newest"] for state in states]
    assert torch.equal(*chimera), "replicas stay equal"


@pytest.mark.multiprocess
def test_a_file_that_was_changed_is_refused(uninterrupted: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(checkpoint_folder(uninterrupted), checkpoint_folder(tmp_path))
    path = checkpoint_folder(tmp_path) / "step-00000005" / "rank-1.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(InputError, match=r"rank-1\.pt: is not what was written"):
        _train(replace(JOB, resume=True, rounds=6), tmp_path)


def test_a_checkpoint_of_another_training_is_refused(uninterrupted: Path) -> None:
    manifest = read_manifest(uninterrupted)
    assert manifest is not None
    refuse_misfit(manifest, JOB)
    refuse_misfit(manifest, replace(JOB, rounds=100, checkpoint_every=7, resume=True, seconds=3.0))
    others = {
        "schedules dapple, chimera, pipedream-2bw": _job(("dapple", "gpipe", "pipedream-2bw")),
        "size of dapple 2 stages on 2 devices": _job(stages=4),
        "seed 0": replace(JOB, seed=1),
        "model mlp": replace(JOB, model=config_dict(replace(MODEL, name="other"))),
        "learning rate 0.001": replace(JOB, learning_rate=0.1),
        "dtype float32": replace(JOB, dtype="bf16"),
    }
    for words, job in others.items():
        with pytest.raises(InputError, match=f"the checkpoint has {words}"):
            refuse_misfit(manifest, job)
    older = manifest.model_copy(update={"job": {**manifest.job, "torch": "1.0"}})
    with pytest.raises(InputError, match=r"torch 1\.0"):
        refuse_misfit(older, JOB)


def test_a_manifest_that_is_none_is_refused_with_the_field_at_fault(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    path = checkpoint_folder(tmp_path) / "manifest.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"step": "five", "folder": "x", "files": {}, "job": {}, "losses": {}}))
    with pytest.raises(InputError, match="step: Input should be a valid integer"):
        read_manifest(tmp_path)
