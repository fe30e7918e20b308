"""A schedule changes when things happen, never what is computed: float64, 1e-10, against one process.

Many cases share a launch, since starting ranks costs more than running them. The reference is
`chimera.executor.verification.reference`: one process, plain autograd, torch's own optimizer loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.ranks.launch import launch
from chimera.pipeline.actions import Kind, Step, parse_action
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import BERT, CNN, GPT, MLP, ModelConfig, config_dict
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build, catalogue

pytestmark = pytest.mark.multiprocess

TOLERANCE = 1e-10
ROWS = 3
MODELS: list[ModelConfig] = [
    GPT("gpt", blocks=10, hidden=16, heads=2, sequence=8, vocabulary=256),
    MLP("mlp", blocks=10, hidden=12, features=5, classes=4),
]
FAMILIES: list[ModelConfig] = [
    *MODELS,
    BERT("bert", blocks=6, hidden=16, heads=2, sequence=9, vocabulary=50),
    # boundaries of three shapes, and an odd image to halve
    CNN("cnn", blocks=6, sizes=3, channels=4, groups=2, image=7, colours=1, classes=10),
]


def _variants(stages: int) -> dict[str, Schedule]:
    """Every schedule of the catalogue, and Chimera's options, at N < D, N = D, N = 3D and an odd N."""
    options: list[tuple[str, dict[str, str | int | bool]]] = [(entry.name, {}) for entry in catalogue()]
    options += [("chimera", {"concat": how}) for how in ("doubling", "halving")]
    options += [("chimera", {"sync": how}) for how in ("end", "eager")]
    options += [("chimera", {"pairs": 2}), ("gpipe", {"order": "lifo"})]
    found = {}
    for name, given in options:
        for microbatches in sorted({max(stages - 1, 1), stages, stages + 1, 3 * stages}):
            try:
                schedule = build(name, stages=stages, microbatches=microbatches, **given)
            except InputError:
                continue  # not admissible: the generators' tests say which are
            label = f"{name} D{stages} N{microbatches} " + " ".join(f"{k}={v}" for k, v in given.items())
            found[label.strip()] = schedule
    return found


def _recomputed(schedules: dict[str, Schedule]) -> dict[str, Schedule]:
    wanted = [label for label in schedules if f"N{3 * schedules[label].devices}" in label]
    return {f"{label} recompute": replace(schedules[label], recompute=True) for label in wanted}


def _by_hand() -> dict[str, Schedule]:
    """Small schedules with what the catalogue may lack: split backwards, a V placement, overlapped pairs."""
    split = build("gpipe", stages=2, microbatches=3)
    rows = tuple(_split_row(row, weights_last=device == 0) for device, row in enumerate(split.actions))
    vee = {0: "0F0 0F1 3F0 3B0 3F1 3B1 0B0 0B1", 1: "1F0 2F0 1F1 2F1 2B0 1B0 2B1 1B1"}
    overlapped = {
        0: "0F0 0F1 0F2 (0F3;0B0)OVERLAP_F_B 0B1 0B2 0B3",
        1: "1F0 1F1 (1F2;1B0)OVERLAP_F_B (1F3;1B1)OVERLAP_F_B 1B2 1B3",
    }
    return {
        "split backward": replace(split, actions=rows),
        "split backward, recompute": replace(split, actions=rows, recompute=True),
        "split backward, the last stage recomputes": replace(split, actions=rows, recompute=(1,)),
        "the first stage recomputes": replace(split, recompute=(0,)),
        "V placement": _written(vee, 4, 2, ((0, 1, 1, 0),)),
        "overlapped pairs": _written(overlapped, 2, 4, ((0, 1),)),
    }


def _split_row(row: tuple[Step, ...], weights_last: bool) -> tuple[Step, ...]:
    """Every backward as I and W, the W right behind its I or all at the end, last micro-batch first."""
    plain = [part for action in row for part in action.parts]
    backwards = [part._replace(kind=Kind.W) for part in plain if part.kind is Kind.B]
    inputs = [part._replace(kind=Kind.I) if part.kind is Kind.B else part for part in plain]
    if weights_last:
        return (*inputs, *reversed(backwards))
    pairs = {part._replace(kind=Kind.I): part for part in backwards}
    return tuple(each for part in inputs for each in ((part, pairs[part]) if part in pairs else (part,)))


def _written(rows: dict[int, str], stages: int, microbatches: int, placement: tuple[tuple[int, ...], ...]) -> Schedule:
    actions = tuple(tuple(parse_action(text) for text in rows[device].split()) for device in sorted(rows))
    return Schedule("custom", stages, len(rows), microbatches, placement, (0,) * microbatches, actions)


def _job(model: ModelConfig, cases: Iterable[Case]) -> dict[str, Any]:
    return Job(
        config_dict(model), tuple(cases), iterations=2, optimizer="adamw", learning_rate=1e-3, dtype="float64"
    ).payload()


def _cases_of(schedules: dict[str, Schedule]) -> list[Case]:
    return [Case(label, schedule_json(item), ROWS) for label, item in schedules.items()]


def _differences(jobs: dict[str, dict[str, Any]], ranks: int, output: Path) -> dict[tuple[str, str], float]:
    """(job, case) -> the largest difference on any rank."""
    found: dict[tuple[str, str], float] = {}
    for rank in launch(
        "tests.executor.targets:differences", {"jobs": jobs}, ranks=ranks, output=output, deadline_s=120
    ):
        for job, differences in rank.items():
            for label, difference in differences.items():
                found[job, label] = max(found.get((job, label), 0.0), difference)
    return found


def _wrong(found: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    return {place: difference for place, difference in found.items() if not difference < TOLERANCE}


@pytest.mark.slow
@pytest.mark.parametrize("stages", [2, 4])
def test_every_schedule_trains_as_one_process_does(stages: int, tmp_path: Path) -> None:
    schedules = _variants(stages)
    of_family = {"gpt": schedules | _recomputed(schedules), "mlp": schedules}
    jobs = {str(model.family): _job(model, _cases_of(of_family[model.family])) for model in MODELS}
    found = _differences(jobs, stages, tmp_path)
    assert not _wrong(found)
    assert set(found) == {(family, label) for family, given in of_family.items() for label in given}
    assert {label.split()[0] for label in schedules} == {entry.name for entry in catalogue() if not entry.reads_file}, (
        "none is left out"
    )


def test_split_backwards_v_placements_and_overlapped_pairs_train_as_one_process_does(tmp_path: Path) -> None:
    found = _differences({"gpt": _job(MODELS[0], _cases_of(_by_hand()))}, 2, tmp_path)
    assert len(found) == len(_by_hand()) and not _wrong(found)


def _cases(width: int) -> tuple[Case, ...]:
    """Every schedule of the catalogue on two devices with four micro-batches."""
    names = [entry.name for entry in catalogue() if not entry.reads_file]
    schedules = {name: build(name, stages=2, microbatches=4) for name in names}
    return tuple(Case(f"{name} W{width}", schedule_json(item), ROWS, width) for name, item in schedules.items())


@pytest.mark.slow
def test_every_family_trains_as_one_process_does_in_one_copy_or_two(tmp_path: Path) -> None:
    cases = (*_cases(1), *_cases(2))
    found = _differences({model.family: _job(model, cases) for model in FAMILIES}, 4, tmp_path)
    assert not _wrong(found)
    assert set(found) == {(model.family, case.label) for model in FAMILIES for case in cases}


def test_the_comparison_sees_a_wrong_gradient(tmp_path: Path) -> None:
    # A pipeline that is told to accumulate one micro-batch twice instead of two different ones.
    schedule = build("gpipe", stages=2, microbatches=2)
    job = Job(config_dict(MODELS[1]), (Case("wrong", schedule_json(schedule), ROWS),), optimizer="sgd", dtype="float64")
    (worst, *_) = launch(
        "tests.executor.targets:difference_with_a_repeated_microbatch",
        job.payload(),
        ranks=2,
        output=tmp_path,
        deadline_s=240,
    )
    assert worst["wrong"] > 1e-4
