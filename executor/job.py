"""A job: several cases run by one group of ranks, interleaved A B A B so that drift hits all alike."""

from __future__ import annotations

__all__ = ["Case", "Job", "iterate", "prepare", "run_job"]

import json
import os
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from executor.context import RankContext
from executor.data import microbatch
from executor.memory import footprint
from executor.modules import stage_module
from executor.runtime import Runtime
from pipeline.schedule_json import parse_document
from pipeline.lowering import lower
from pipeline.models import layers, model_config
from pipeline.partition import default_partition, explicit
from pipeline.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Case:
    """One schedule to run, as its JSON document."""

    label: str
    schedule: dict[str, Any]
    microbatch_size: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """Cases of one model; each round runs `iterations` of every case, after `warmup` rounds."""

    model: dict[str, Any]
    cases: tuple[Case, ...]
    rounds: int = 1
    iterations: int = 1
    warmup: int = 1
    seed: int = 0
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    dtype: str = "float32"

    def payload(self) -> dict[str, Any]:
        """The job as the JSON-able payload of `run_job`."""
        return asdict(self)

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Job:
        """The job that `payload` wrote."""
        return cls(**{**payload, "cases": tuple(Case(**case) for case in payload["cases"])})


def run_job(context: RankContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Runs a job on this rank: {label: [iteration record, ...]} with disturbances and RSS."""
    job = Job.from_payload(payload)
    torch.manual_seed(job.seed)
    runtimes = [prepare(context, job, case) for case in job.cases]
    records: dict[str, list[dict[str, Any]]] = {case.label: [] for case in job.cases}
    count = 0
    for number in range(job.warmup + job.rounds):
        for case, runtime in zip(job.cases, runtimes, strict=True):
            if runtime is None:
                continue
            for _ in range(job.iterations):
                record = iterate(context, job, case, runtime, count)
                count += 1
                if number >= job.warmup:
                    records[case.label].append(record | {"round": number - job.warmup})
    peaks = {
        case.label: _peak_memory(context, job, case, runtime, count)
        for case, runtime in zip(job.cases, runtimes, strict=True)
        if runtime is not None
    }
    return {"cases": records, "peak_memory_bytes": peaks, "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def prepare(context: RankContext, job: Job, case: Case) -> Runtime | None:
    """This rank's runtime of a case; None for a rank that the case leaves idle. Collective."""
    schedule = parse_document(json.dumps(case.schedule), case.label).schedule
    config, dtype = model_config(job.model), getattr(torch, job.dtype)
    cuts = default_partition(config, schedule.stages)
    device, copy = context.rank % schedule.devices, context.rank // schedule.devices
    modules = {stage: stage_module(config, cuts[stage], seed=job.seed, dtype=dtype) for stage in schedule.stages_on(device)}
    kinds = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    optimizers = {stage: kinds[job.optimizer](module.parameters(), lr=job.learning_rate) for stage, module in modules.items()}
    groups = _groups(schedule, case.width)
    if context.rank >= schedule.devices * case.width:
        return None
    sample = microbatch(config, 1, seed=job.seed, iteration=0, number=0, dtype=dtype).inputs
    return Runtime(
        context, lower(schedule, width=case.width), config, modules,
        lambda stage: _boundary(config, sample), optimizers, groups, case.width, dtype,
    )


def _boundary(config: Any, sample: torch.Tensor) -> tuple[int, ...]:
    return (sample.shape[1], config.hidden) if config.family == "gpt" else (config.hidden,)


def _groups(schedule: Schedule, width: int) -> dict[int, Any]:
    groups = {}
    for stage in range(schedule.stages):
        members = sorted(copy * schedule.devices + d for copy in range(width) for d in schedule.replica_devices(stage))
        if len(members) > 1:
            groups[stage] = dist.new_group(members)
    return groups


def iterate(context: RankContext, job: Job, case: Case, runtime: Runtime, count: int) -> dict[str, Any]:
    """One iteration on the mini-batch number `count`: its record, with what disturbed it."""
    schedule = runtime.schedule
    base = (context.rank // schedule.devices) * schedule.microbatches
    batch = [
        microbatch(runtime.config, case.microbatch_size, seed=job.seed, iteration=count, number=base + m, dtype=runtime.dtype)
        for m in range(schedule.microbatches)
    ]
    switches, stolen = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw, _steal_ns()
    record = runtime.iteration(batch)
    return asdict(record) | {
        "switches": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches,
        "steal_ns": _steal_ns() - stolen,
    }


def _peak_memory(context: RankContext, job: Job, case: Case, runtime: Runtime, count: int) -> int:
    """Peak tensor bytes of one more iteration, untimed since watching the allocator slows it down."""
    watched = footprint(lambda: iterate(context, job, case, runtime, count))
    return runtime.held_bytes() + watched.peak_bytes


def _steal_ns() -> int:
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        return int(fields[8]) * (10**9 // os.sysconf("SC_CLK_TCK"))
    except (OSError, IndexError, ValueError):
        return 0
