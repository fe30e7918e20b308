"""The mathematics of a plan against a single process that knows no pipeline."""

from __future__ import annotations

__all__ = ["difference"]

from collections.abc import Mapping
from typing import Any

import torch

from executor.context import RankContext
from executor.data import microbatch
from executor.job import Case, Job, iterate, prepare
from executor.modules import loss_of, stage_module
from pipeline.models import ModelConfig, layers, model_config
from pipeline.partition import default_partition


def difference(context: RankContext, payload: Mapping[str, Any]) -> dict[str, float]:
    """Per case, the largest absolute difference of this rank's gradients from the reference's.

    One SGD step of learning rate 1 is run, so that the weights move by exactly the gradients.
    """
    job = Job.from_payload(payload)
    config, dtype = model_config(job.model), getattr(torch, job.dtype)
    found = {}
    for number, case in enumerate(job.cases):
        runtime = prepare(context, job, case)
        if runtime is None:
            continue
        iterate(context, job, case, runtime, number)
        expected = _reference(config, job, case, runtime.schedule.microbatches, number, dtype)
        cuts = default_partition(config, runtime.schedule.stages)
        found[case.label] = max(
            float((ours.detach() - truth).abs().max())
            for stage, module in runtime.modules.items()
            for index, layer in zip(cuts[stage], module, strict=True)
            for ours, truth in zip(layer.parameters(), expected[index], strict=True)
        )
    return found


def _reference(
    config: ModelConfig, job: Job, case: Case, microbatches: int, iteration: int, dtype: torch.dtype
) -> list[list[torch.Tensor]]:
    """Per layer, the parameters after one step of gradient descent on the whole mini-batch."""
    model = stage_module(config, range(len(layers(config))), seed=job.seed, dtype=dtype)
    for number in range(microbatches * case.width):
        batch = microbatch(config, case.microbatch_size, seed=job.seed, iteration=iteration, number=number, dtype=dtype)
        loss = loss_of(config, model(batch.inputs), batch.targets)
        (loss / (microbatches * case.width)).backward()
    return [[p.detach() - job.learning_rate * p.grad for p in layer.parameters() if p.grad is not None] for layer in model]
