"""Messages in batches, as NCCL needs them, on gloo: a batch waits until the one before it is served.

gloo completes a send only when its receive is posted, so a wrong order hangs here as it would there.
The same batches are what `chimera.pipeline.soundness.deadlock` checks under its "batched" semantics.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import MLP, config_dict
from chimera.pipeline.schedule import Option, Schedule
from chimera.pipeline.schedules import build, catalogue

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

MODEL = MLP("mlp", blocks=8, hidden=12, features=5, classes=4)


def _schedules(stages: int) -> dict[str, Schedule]:
    """Every schedule of the catalogue, Chimera with its options, at the least N that each admits from D on."""
    given: list[tuple[str, dict[str, Option]]] = [(entry.name, {}) for entry in catalogue() if not entry.reads_file]
    given += [("chimera", {"concat": "doubling"}), ("chimera", {"concat": "halving"}), ("chimera", {"pairs": 2})]
    found = {}
    for name, options in given:
        for microbatches in (stages, 2 * stages):
            try:
                schedule = build(name, stages=stages, microbatches=microbatches, **options)
            except InputError:
                continue  # not admissible: the generators' tests say which are
            found[f"{name} N{microbatches} {options}"] = schedule
    return found


@pytest.mark.parametrize("stages", [2, 4])
def test_every_schedule_trains_as_one_process_does_in_batches_that_follow_one_another(
    stages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIMERA_MESSAGES", "batched")
    schedules = _schedules(stages)
    cases = tuple(Case(label, schedule_json(item), 3) for label, item in schedules.items())
    job = Job(config_dict(MODEL), cases, iterations=2, dtype="float64")
    results = launch(
        "chimera.executor.verification.difference:difference",
        job.payload(),
        ranks=stages,
        output=tmp_path,
        deadline_s=240,
    )
    worst = {label: max(result[label] for result in results) for label in schedules}
    assert not {label: found for label, found in worst.items() if not found < 1e-10}  # as in test_gradients
    assert {label.split()[0] for label in schedules} == {entry.name for entry in catalogue() if not entry.reads_file}
