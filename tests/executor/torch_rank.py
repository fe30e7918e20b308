"""One rank of torch's own pipeline runtime, replaying our CSV files; started by test_torch_cross_execution.

Usage: python torch_rank.py RANK WORLD FOLDER. Reads FOLDER/cases.json, writes FOLDER/rank<RANK>.json:
per case and parameter of the rank's stages, the gradient as nested lists.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import _PipelineScheduleRuntime

WIDTH, SAMPLES = 6, 2
"""features, and samples of one micro-batch"""


def stage_module(stage: int) -> torch.nn.Module:
    """A stage with weights that depend on its number only; float64 so that equality means 1e-12."""
    torch.manual_seed(1000 + stage)
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh()).double()


def batch(microbatches: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of all micro-batches, (microbatches * SAMPLES, WIDTH) each."""
    torch.manual_seed(7)
    return tuple(torch.randn(microbatches * SAMPLES, WIDTH, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def run_case(case: dict[str, Any], folder: Path, rank: int) -> dict[str, Any]:
    """The gradients of this rank's stages after one step of the schedule in the case's file."""
    stages = case["stages"]
    mine = [stage for stage in range(stages) if case["placement"][stage] == rank]
    modules = {stage: stage_module(stage) for stage in mine}
    held = [PipelineStage(modules[stage], stage, stages, torch.device("cpu")) for stage in mine]
    runtime = _PipelineScheduleRuntime(held, case["microbatches"], loss_fn=torch.nn.functional.mse_loss)
    runtime._load_csv(str(folder / case["file"]), format=case["format"])
    inputs, targets = batch(case["microbatches"])
    arguments = (inputs,) if 0 in mine else ()
    keywords: dict[str, Any] = {"target": targets, "losses": []} if stages - 1 in mine else {}
    runtime.step(*arguments, **keywords)
    return {
        f"{stage}.{name}": parameter.grad.tolist()
        for stage, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def main() -> None:
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), world)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=60))
    cases = json.loads((folder / "cases.json").read_text())
    gradients = {case["name"]: run_case(case, folder, rank) for case in cases}
    (folder / f"rank{rank}.json").write_text(json.dumps(gradients))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
