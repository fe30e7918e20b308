"""A long run on many ranks is as small at its end as at its beginning."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.ranks.launch import launch
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import MLP, config_dict
from chimera.pipeline.schedules import build

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]


def test_200_iterations_on_four_ranks_leave_no_file_open_and_no_memory_taken(tmp_path: Path) -> None:
    model = MLP("mlp", blocks=6, hidden=64, features=16, classes=4)
    case = Case("chimera", schedule_json(build("chimera", stages=4, microbatches=4)), 64)
    job = Job(config_dict(model), (case,), rounds=200, warmup=0, memory=False, detailed=16)
    for found in launch("tests.executor.targets:endure", job.payload(), ranks=4, output=tmp_path, deadline_s=120):
        assert len(found["cases"]["chimera"]) == len(found["files"]) == 200
        assert set(found["files"][50:]) == {found["files"][50]}
        early, late = median(found["rss_bytes"][40:60]), median(found["rss_bytes"][-20:])
        # One leaked message of 16 KiB an iteration would be 2.4 MB; keeping the spans of all 200 takes about 1 MB.
        assert late - early < 640 << 10
