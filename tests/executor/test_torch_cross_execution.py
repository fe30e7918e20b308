"""torch's own runtime executes our schedules over gloo: its gradients are the serial model's and our executor's."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.ranks.launch import launch
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.schedule_file import schedule_csv, schedule_json
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.models import GPT, MLP, ModelConfig, config_dict
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build, catalogue

torch = pytest.importorskip("torch")

SCRIPT = Path(__file__).with_name("torch_rank.py")
NAMES = (
    "gpipe",
    "dapple",
    "interleaved",
    "breadth-first",
    "zb-h1",
    "zb-h2",
    "zb-v",
    "v-half",
    "v-min",
    "hanayo",
    "dualpipe-v",
)
"""every schedule that torch has words for: one replica, whole micro-batches, a flush"""
MODELS: list[ModelConfig] = [
    GPT("gpt", blocks=10, hidden=16, heads=2, sequence=8, vocabulary=32),
    MLP("mlp", blocks=10, hidden=12, features=5, classes=4),
]


def files_of(schedule: Schedule) -> dict[tuple[str, str], str]:
    """(our name, torch's format) -> file: the bare order, and three plans that place receives differently."""
    return {
        ("order", "compute_only"): schedule_csv(schedule),
        ("early", "compute_comms"): schedule_csv(lower(schedule, receives="early")),
        ("late", "compute_comms"): schedule_csv(lower(schedule, receives="late")),
        ("safe", "compute_comms"): schedule_csv(rendezvous_safe(lower(schedule))),
    }


def write_cases(folder: Path, world: int) -> list[dict[str, Any]]:
    """The CSV files of all schedules that this number of devices admits, and their list."""
    cases = []
    for name in {item.name for item in catalogue()}.intersection(NAMES):
        try:
            schedule = build(name, stages=world, microbatches=2 * world)
        except InputError:
            continue
        for (kind, form), text in files_of(schedule).items():
            file = f"{name}-{kind}.csv"
            (folder / file).write_text(text)
            cases.append(
                {
                    "name": f"{name}/{kind}",
                    "file": file,
                    "format": form,
                    "stages": schedule.stages,
                    "microbatches": schedule.microbatches,
                    "placement": list(schedule.placement[0]),
                }
            )
    (folder / "cases.json").write_text(json.dumps(cases))
    return cases


def execute(folder: Path, world: int, deadline_s: float) -> list[dict[str, dict[str, Any]]]:
    """Starts the ranks, waits for all of them, and kills what is left of them at the deadline."""
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), str(world), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        errors = [process.communicate(timeout=deadline_s)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    for rank, (process, stderr) in enumerate(zip(ranks, errors, strict=True)):
        assert process.returncode == 0, f"rank {rank}: {stderr[-3000:]}"
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world)]


def rank_module() -> ModuleType:
    specification = importlib.util.spec_from_file_location("torch_rank", SCRIPT)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def serial_gradients(stages: int, microbatches: int) -> dict[str, Any]:
    """The whole batch through the whole model in one process: the mean loss over all samples."""
    script = rank_module()
    modules = [script.stage_module(stage) for stage in range(stages)]
    value, targets = script.batch(microbatches)
    for module in modules:
        value = module(value)
    torch.nn.functional.mse_loss(value, targets).backward()
    return {
        f"{stage}.{name}": parameter.grad
        for stage, module in enumerate(modules)
        for name, parameter in module.named_parameters()
    }


@pytest.mark.multiprocess
@pytest.mark.parametrize("world", [2, 4])
def test_gradients_of_torchs_runtime_equal_the_serial_ones(world: int, tmp_path: Path) -> None:
    """Tolerance 1e-12: float64, the same sums of a handful of terms in another order."""
    cases = write_cases(tmp_path, world)
    ranks = execute(tmp_path, world, deadline_s=120)
    for case in cases:
        expected = serial_gradients(case["stages"], case["microbatches"])
        found = {name: value for gradients in ranks for name, value in gradients[case["name"]].items()}
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(
                torch.tensor(value, dtype=torch.float64),
                expected[name],
                rtol=0,
                atol=1e-12,
                msg=lambda text, where=f"{case['name']} {name}": f"{where}: {text}",
            )


@pytest.mark.multiprocess
@pytest.mark.parametrize("world", [2, 4])
def test_gradients_of_torchs_runtime_equal_our_executors(world: int, tmp_path: Path) -> None:
    """The same layers, data and exported order in both runtimes, one after the other in the same ranks."""
    cases, files = [], {}
    for name in NAMES:
        try:
            schedule = build(name, stages=world, microbatches=2 * world)
        except InputError:
            continue
        files[name] = str(tmp_path / f"{name}.csv")
        Path(files[name]).write_text(schedule_csv(schedule))
        cases.append(Case(name, schedule_json(schedule), 2))
    jobs = {model.family: Job(config_dict(model), tuple(cases), dtype="float64").payload() for model in MODELS}
    found = launch(
        "tests.executor.torch_targets:differences_to_torch",
        {"jobs": jobs, "files": files},
        ranks=world,
        output=tmp_path,
        deadline_s=120,
    )
    assert len(cases) >= 10
    for rank in found:
        assert {family: len(differences) for family, differences in rank.items()} == {
            "gpt": len(cases),
            "mlp": len(cases),
        }
        assert all(difference < 1e-10 for differences in rank.values() for difference in differences.values()), found
