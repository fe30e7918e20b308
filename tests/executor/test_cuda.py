"""The same runs on GPUs over NCCL. Nothing here has run yet where no GPU is: the skips say so."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.jobs.results import timelines
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError, RunError
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import GPT, config_dict
from chimera.pipeline.schedules import build, catalogue

GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0
pytestmark = [pytest.mark.multiprocess, pytest.mark.gpu]
one_gpu = pytest.mark.skipif(GPUS < 1, reason="needs a GPU")
two_gpus = pytest.mark.skipif(GPUS < 2, reason="needs two GPUs: a GPU cannot hold two ranks of one NCCL communicator")
MODEL = GPT("gpt", blocks=4, hidden=32, heads=2, sequence=16, vocabulary=256)


def _job(names: list[str], stages: int, **settings: object) -> Job:
    cases = []
    for name in names:
        for microbatches in (2 * stages, 4 * stages):
            try:
                schedule = build(name, stages=stages, microbatches=microbatches)
            except InputError:
                continue
            cases.append(Case(name, schedule_json(schedule), 4))
            break
    return Job(config_dict(MODEL), tuple(cases), **settings)  # type: ignore[arg-type]


@one_gpu
def test_one_gpu_trains_as_one_process_on_the_cpu_does(tmp_path: Path) -> None:
    job = _job(["gpipe", "dapple"], 1, iterations=2, dtype="float64")
    (found,) = launch(
        "chimera.executor.verification.difference:difference",
        job.payload(),
        ranks=1,
        output=tmp_path,
        deadline_s=120,
        device="cuda",
    )
    assert found and max(found.values()) < 1e-9  # another order of summation than the CPU's


@one_gpu
def test_one_gpu_tells_spans_in_order_and_its_memory(tmp_path: Path) -> None:
    job = _job(["dapple"], 1, rounds=3)
    results = launch(
        "chimera.executor.jobs.job:run_job", job.payload(), ranks=1, output=tmp_path, deadline_s=120, device="cuda"
    )
    for timeline in timelines(results, "dapple"):
        spans = timeline.of_device(0)
        assert all(before.end_ns <= after.start_ns for before, after in pairwise(spans))
        # marks are elapsed device time, known to about 0.5 us, on a zero known to some tens of us
        assert all(-50_000 <= span.start_ns < span.end_ns <= timeline.end_ns + 50_000 for span in spans)
    memory = results[0]["memory"]["dapple"]
    # float32: weights, gradients and AdamW's two moments of every parameter are held at the least
    assert 0 < memory["baseline_bytes"] < memory["peak_bytes"] <= memory["reserved_bytes"]


@two_gpus
def test_every_schedule_trains_on_two_gpus_over_nccl_as_one_process_does(tmp_path: Path) -> None:
    job = _job([entry.name for entry in catalogue() if not entry.reads_file], 2, iterations=2, dtype="float64")
    results = launch(
        "chimera.executor.verification.difference:difference",
        job.payload(),
        ranks=2,
        output=tmp_path,
        deadline_s=120,
        device="cuda",
    )
    assert {label: max(found[label] for found in results) for label in results[0] if results[0][label] > 1e-9} == {}


@pytest.mark.skipif(GPUS > 0, reason="is about hosts without a GPU")
def test_a_gpu_that_is_not_there_is_missed_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"device 'cuda' for 1 ranks on this host: it has 0 GPUs"):
        launch(
            "chimera.executor.jobs.job:run_job",
            _job(["dapple"], 1).payload(),
            ranks=1,
            output=tmp_path,
            deadline_s=240,
            device="cuda",
        )
