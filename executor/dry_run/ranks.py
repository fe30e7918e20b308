"""A dry run over all ranks, and what it tells of each."""

from __future__ import annotations

__all__ = ["DryRun", "RankSummary", "dry_run"]

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from chimera.executor.dry_run.counterparts import refuse_mismatch, refuse_reductions
from chimera.executor.dry_run.walk import Size, Walked, walk
from chimera.executor.jobs.precision import precision_of
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.models import layers
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.setting import Setting


@dataclass(frozen=True, slots=True)
class RankSummary:
    """What one rank would hold and do in an iteration."""

    rank: int
    actions: int
    batches: int
    """calls of torch that post messages: one a message, unless they go out in batches"""
    sent: int
    sent_bytes: int
    received: int
    received_bytes: int
    all_reduces: int
    all_reduced_bytes: int
    parameters: int
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class DryRun:
    """The ranks of a run that was not executed, and how many process groups they would make."""

    schedule: str
    model: str
    devices: int
    width: int
    microbatches: int
    microbatch_size: int
    groups: int
    ranks: tuple[RankSummary, ...]

    def as_json(self) -> dict[str, Any]:
        """One JSON-able object, schema_version 1."""
        return {"schema_version": 1, "executed": False, **asdict(self)}


def dry_run(schedule: Schedule, setting: Setting, *, batched: bool = False) -> DryRun:
    """Walks through one iteration of every rank and compares the messages and all-reduces of all.

    With `batched` messages go out in batches, as on GPUs. Raises RunError for a message or an
    all-reduce that has no counterpart, InputError for a partition that does not fit. The 64 ranks of
    Chimera with 128 micro-batches take some seconds.
    """
    config, layout = setting.work.model, setting.layout.of(schedule)
    known, cuts = layers(config), setting.partition(schedule.stages).ranges
    dtypes = precision_of(setting.work.precision, torch.device("cpu"))
    size = Size(
        lower(schedule, width=layout.grid.width),
        tuple(known[cut[-1]].boundary_shape for cut in cuts),
        tuple(sum(known[index].parameters for index in cut) for cut in cuts),
        layout.microbatch_size,
        layout.grid,
        dtypes,
        batched,
    )
    with tempfile.TemporaryDirectory() as folder:
        walked = [walk(size, rank, Path(folder)) for rank in range(size.ranks)]
    refuse_mismatch([rank.handed for rank in walked])
    refuse_reductions(schedule, size.grid, [rank.all_reduces for rank in walked])
    summaries = tuple(_summary(size, rank, each) for rank, each in enumerate(walked))
    return DryRun(
        schedule.name,
        config.name,
        schedule.devices,
        layout.grid.width,
        schedule.microbatches,
        layout.microbatch_size,
        walked[0].groups,
        summaries,
    )


def _summary(size: Size, rank: int, walked: Walked) -> RankSummary:
    sent = [each.size_bytes for each in walked.handed if each.sending]
    received = [each.size_bytes for each in walked.handed if not each.sending]
    per_parameter = torch.empty(0, dtype=size.dtypes.weights).element_size()
    parameters = sum(size.parameters[stage] for stage in walked.stages)
    reduced = sum(size.parameters[stage] for stage in walked.all_reduces) * per_parameter
    actions = len(size.plan.actions[size.grid.place_of(rank).device])
    return RankSummary(
        rank,
        actions,
        len({each.batch for each in walked.handed}),
        len(sent),
        sum(sent),
        len(received),
        sum(received),
        len(walked.all_reduces),
        reduced,
        parameters,
        parameters * per_parameter,
    )
