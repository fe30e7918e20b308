"""gloo's threads give way to the computing thread: sched(7) on SCHED_BATCH, real ranks."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.ranks.launch import launch
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import config_dict, model_config
from chimera.pipeline.schedules import build


@pytest.mark.multiprocess
def test_every_gloo_thread_of_a_job_is_batch_and_the_rank_itself_is_not(tmp_path: Path) -> None:
    case = Case("chimera", schedule_json(build("chimera", stages=2, microbatches=2)), 2)
    job = Job(config_dict(model_config("mlp-tiny")), (case,))
    for found in launch("tests.executor.targets:policies", job.payload(), ranks=2, output=tmp_path, deadline_s=240):
        gloo = {name: classes for name, classes in found.items() if "gloo" in name}
        assert len(gloo) >= 2, "the event loop and the collectives' threads, by the names gloo gives them"
        assert {one for classes in gloo.values() for one in classes} == {os.SCHED_BATCH}
        assert os.SCHED_OTHER in [one for name, classes in found.items() if name not in gloo for one in classes]


def test_other_threads_are_left_alone() -> None:
    from chimera.executor.iteration.background import yield_to_compute

    ready, done = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        done.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    ready.wait()
    yield_to_compute()
    assert thread.native_id is not None and os.sched_getscheduler(thread.native_id) == os.SCHED_OTHER
    done.set()
    thread.join()
