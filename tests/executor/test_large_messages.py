"""Messages far beyond what sockets hold: 32 MiB through every family of schedules, 64 MiB where a forward is doubled.

131072 rows of 64 float32 are 32 MiB. Stages sleep for no time at all, so that the messages are all there is; one
schedule computes as well, and what it learns is held against one process, so that a mixed-up message would be found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.jobs.pace import Pace
from chimera.executor.jobs.results import timelines
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.models import MLP, config_dict
from chimera.pipeline.schedule import Option, Schedule
from chimera.pipeline.schedules import build, catalogue

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

ROWS, HIDDEN = 1 << 17, 64
MIB = 1 << 20
FAMILIES: list[tuple[str, dict[str, Option]]] = [(entry.name, {}) for entry in catalogue() if not entry.reads_file]


def _smallest(name: str, stages: int, options: dict[str, Option]) -> Schedule:
    """The schedule of the least number of micro-batches from D on that it admits."""
    for microbatches in range(stages, 4 * stages + 1):
        try:
            return build(name, stages=stages, microbatches=microbatches, **options)
        except InputError:
            continue
    raise AssertionError(f"{name} admits no number of micro-batches")


def _model(stages: int) -> dict[str, Any]:
    """An input layer, a head, and what is missing to have a layer for every stage."""
    return config_dict(MLP("wide", blocks=max(stages - 1, 1), hidden=HIDDEN, features=1, classes=2))


def _sizes(schedules: dict[str, Schedule], output: Path) -> dict[str, set[int]]:
    """The sizes of all messages of a run of each schedule, in MiB."""
    no_time = Pace(forward_ns=0, backward_ns=0)
    cases = tuple(
        Case(label, schedule_json(each), ROWS, pace=(no_time,) * each.stages) for label, each in schedules.items()
    )
    job = Job(_model(max(each.stages for each in schedules.values())), cases, warmup=0, memory=False)
    ranks = max(each.devices for each in schedules.values())
    results = launch("chimera.executor.jobs.job:run_job", job.payload(), ranks=ranks, output=output, deadline_s=240)
    return {label: {t.size_bytes // MIB for t in timelines(results, label)[0].transfers} for label in schedules}


def test_every_family_sends_32_mib_on_two_devices(tmp_path: Path) -> None:
    found = _sizes({name: _smallest(name, 2, options) for name, options in FAMILIES}, tmp_path)
    assert {name: sizes for name, sizes in found.items() if sizes != {32}} == {
        "data-parallel": set()
    }  # hands over locally


def test_chimera_sends_32_mib_on_four_devices(tmp_path: Path) -> None:
    assert _sizes({"chimera": _smallest("chimera", 4, {})}, tmp_path) == {"chimera": {32}}


def test_doubled_forwards_send_64_mib_and_learn_what_one_process_learns(tmp_path: Path) -> None:
    # N = 2D: two units, whose forwards go two by two (Chimera paper, section 3.5); half the rows of twice the bytes.
    doubling = build("chimera", stages=2, microbatches=4, concat="doubling")
    assert "1RECV_F0+1" in {str(action) for action in lower(doubling).actions[1]}
    job = Job(_model(2), (Case("doubling", schedule_json(doubling), ROWS // 2),), optimizer="sgd", dtype="float64")
    found = launch(
        "chimera.executor.verification.difference:difference", job.payload(), ranks=2, output=tmp_path, deadline_s=240
    )
    assert max(rank["doubling"] for rank in found) < 1e-10
