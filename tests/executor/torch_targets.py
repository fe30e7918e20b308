"""What a rank does to compare torch's own pipeline runtime with ours on the very same stages and data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import _PipelineScheduleRuntime

from chimera.executor.jobs.cases import Job
from chimera.executor.jobs.job import set_up
from chimera.executor.jobs.prepare import Prepared
from chimera.executor.modules import loss_of, stage_module
from chimera.executor.ranks.context import RankContext


def differences_to_torch(context: RankContext, payload: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Per job and case: the largest absolute difference of this rank's gradients in the two runtimes.

    `payload` has `jobs` by name, and `files`: the CSV of each case by its label.
    """
    files = {label: Path(file) for label, file in payload["files"].items()}
    return {name: _differences(context, Job.from_payload(job), files) for name, job in payload["jobs"].items()}


def _differences(context: RankContext, job: Job, files: Mapping[str, Path]) -> dict[str, float]:
    found = {}
    for item in set_up(context, job):
        file = files[item.case.label]
        ours, theirs = _gradients_here(item), _gradients_of_torch(item, file)
        assert ours.keys() == theirs.keys()
        pairs = [pair for stage in ours for pair in zip(ours[stage], theirs[stage], strict=True)]
        assert all(bool(expected.abs().max() > 0) for _, expected in pairs), "a gradient of nothing proves nothing"
        found[item.case.label] = max(float((mine - expected).abs().max()) for mine, expected in pairs)
    return found


def _gradients_here(item: Prepared) -> dict[int, list[Tensor]]:
    found: dict[int, list[Tensor]] = {}

    def keep(stage: int) -> None:
        found[stage] = [gradient.clone() for gradient in item.runtime.stages[stage].weights.gradients()]

    item.runtime.updates.before_step = keep
    item.iterate()
    return found


def _gradients_of_torch(item: Prepared, file: Path) -> dict[int, list[Tensor]]:
    schedule = item.schedule
    item.count = 0
    batch = item.batch()
    modules = {
        stage: stage_module(item.config, item.cuts[stage], seed=item.job.seed, dtype=item.dtype)
        for stage in schedule.stages_on(item.place.device)
    }
    held = [PipelineStage(module, stage, schedule.stages, torch.device("cpu")) for stage, module in modules.items()]
    runtime = _PipelineScheduleRuntime(
        held, schedule.microbatches, loss_fn=lambda output, target: loss_of(item.config, output, target)
    )
    runtime._load_csv(str(file), format="compute_only")
    inputs = (torch.cat([each.inputs for each in batch]),) if 0 in modules else ()
    last = schedule.stages - 1 in modules
    targets: dict[str, Any] = {"target": torch.cat([each.targets for each in batch]), "losses": []} if last else {}
    runtime.step(*inputs, **targets)
    return {stage: [_gradient(p) for p in module.parameters()] for stage, module in modules.items()}


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "torch left a parameter without its gradient"
    return parameter.grad
