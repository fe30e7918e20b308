"""Making one case ready on one rank: schedule, plan, stages, groups, runtime."""

from __future__ import annotations

__all__ = ["Prepared", "prepare"]

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from chimera.executor.data import Microbatch, Source, held_out, microbatch
from chimera.executor.iteration.clipping import Clipping, counted_stages
from chimera.executor.iteration.groups import Groups
from chimera.executor.iteration.paced import PacedStage
from chimera.executor.iteration.runtime import Runtime
from chimera.executor.iteration.stage import RealStage, StageWork
from chimera.executor.iteration.weights import Weights
from chimera.executor.jobs.cases import Case, Job
from chimera.executor.jobs.checks import check_case
from chimera.executor.jobs.journal import disturbances
from chimera.executor.jobs.precision import precision_of
from chimera.executor.modules import loss_of, stage_module
from chimera.executor.modules.deferral import Sink
from chimera.executor.ranks.context import RankContext
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.schedule_json import parse_document
from chimera.pipeline.grid import Grid, Place
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.models import ModelConfig, layers, model_config
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.rules import split_backwards
from chimera.pipeline.schedule import Schedule

_NOWHERE = Place(-1, -1)


class Prepared:
    """One case on one rank; `active` is false on a rank that the case leaves idle: it has no place in the grid."""

    def __init__(self, context: RankContext, job: Job, case: Case, schedule: Schedule, cuts: tuple[range, ...]) -> None:
        self.context, self.job, self.case, self.schedule, self.cuts = context, job, case, schedule, cuts
        self.config, self.precision = model_config(job.model), precision_of(job.dtype, context.device)
        self.dtype, self.source = self.precision.weights, Source(job.data, job.data_dir)
        self.grid = Grid(schedule.devices, case.width)
        self.active = context.rank in self.grid.ranks
        self.place = self.grid.place_of(context.rank) if self.active else _NOWHERE
        self.count = 0
        self.runtime: Runtime

    def build(self, groups: Groups) -> None:
        """Builds stages and runtime. Collective: idle ranks take part in making the groups."""
        schedule, grid = self.schedule, self.grid
        by_stage, directions = groups.of_stages(schedule, grid), groups.of_directions(schedule, grid, self.place.copy)
        everyone = groups.of(grid.ranks)
        if not self.active:
            return
        stages = {stage: self._stage(stage) for stage in schedule.stages_on(self.place.device)}
        self.runtime = Runtime(
            self.context,
            lower(schedule, width=grid.width),
            stages,
            rows=self.case.microbatch_size,
            shapes=[self.boundary(stage) for stage in range(schedule.stages)],
            dtype=self.precision.messages,
            groups=by_stage,
            directions=directions,
            grid=grid,
            barrier=everyone,
            clipping=self._clipping(stages, everyone),
        )

    def boundary(self, stage: int) -> tuple[int, ...]:
        """The shape of one sample as it leaves a stage."""
        return layers(self.config)[self.cuts[stage][-1]].boundary_shape

    def labels(self) -> dict[str, Any]:
        """What a journal line says of its case, so that it can be read without the rest of the run."""
        return {"ranks": self.grid.gpus, "compute": "paced" if self.case.pace else "real"}

    def batch(self) -> list[Microbatch]:
        """The micro-batches of this rank's copy in iteration `count`."""
        count, size, seed = self.schedule.microbatches, self.case.microbatch_size, self.job.seed
        found = (
            microbatch(
                self.config,
                size,
                seed=seed,
                iteration=self.count,
                number=number,
                count=count * self.case.width,
                dtype=self.dtype,
                source=self.source,
            )
            for number in range(self.place.copy * count, (self.place.copy + 1) * count)
        )
        return [Microbatch(*(tensor.to(self.context.device) for tensor in item)) for item in found]

    def held_out(self) -> Microbatch | None:
        """Samples of no training iteration, the same for every case; None if none are wanted."""
        if not self.job.held_out:
            return None
        return held_out(self.config, self.job.held_out, seed=self.job.seed, dtype=self.dtype, source=self.source)

    def iterate(self, *, annotate: bool = False) -> dict[str, Any]:
        """One iteration on the next mini-batch: its record, and what disturbed it."""
        batch = self.batch()
        self.use_rate()
        self.count += 1
        with disturbances() as found:
            record = self.runtime.iteration(batch, annotate=annotate)
        return asdict(record) | found

    def use_rate(self) -> None:
        """Sets the learning rate of iteration `count`."""
        rate = self.job.rate.at(self.count)
        for stage in self.runtime.stages.values():
            stage.weights.use_rate(rate)

    def reset(self) -> None:
        """Back to the initial weights, optimizer state and first mini-batch."""
        self.count = 0
        if self.active:
            for stage in self.runtime.stages.values():
                stage.weights.reset()

    def restart(self) -> None:
        """As `reset`, but for the last time: the copy of the initial weights is let go."""
        self.reset()
        if self.active:
            for stage in self.runtime.stages.values():
                stage.weights.forget()

    def _clipping(self, stages: Mapping[int, StageWork], everyone: Any) -> Clipping | None:
        limit = self.job.clip_norm
        if limit is None:
            return None
        counted = [
            stages[stage].weights.gradient
            for stage in counted_stages(self.schedule, self.place.device, self.place.copy)
        ]
        return Clipping(limit, [stage.weights.gradient for stage in stages.values()], counted, everyone)

    def _stage(self, stage: int) -> StageWork:
        job, schedule = self.job, self.schedule
        first, last = stage == 0, stage == schedule.stages - 1
        module = stage_module(self.config, self.cuts[stage], seed=job.seed, dtype=self.dtype).to(self.context.device)
        sink = Sink() if schedule.split_backward() else None
        weights = Weights(
            self.precision.stage(module, last=last),
            job.optimizer,
            job.learning_rate,
            schedule.update,
            sink,
            job.momentum,
        )
        if job.reset or job.restart:
            weights.remember()
        if self.case.pace is not None:
            return PacedStage(
                weights,
                self.case.pace[stage],
                rows=self.case.microbatch_size,
                dtype=self.precision.messages,
                given=None if first else self.boundary(stage - 1),
                output=self.boundary(stage),
                recompute=schedule.recomputes(stage),
            )
        loss = (lambda output, targets: loss_of(self.config, output, targets)) if last else None
        return RealStage(
            weights,
            first=first,
            loss=loss,
            recompute=schedule.recomputes(stage),
            sink=sink,
            split=frozenset(key[1:] for key in split_backwards(schedule) if key[0] == stage),
        )


def prepare(context: RankContext, job: Job, case: Case, groups: Groups) -> Prepared:
    """A case made ready on this rank. Collective. Raises InputError for a case that cannot run."""
    schedule = parse_document(json.dumps(case.schedule), case.label).schedule
    _check(context, job, case, schedule)
    config = model_config(job.model)
    prepared = Prepared(context, job, case, schedule, _cuts(config, case, schedule.stages))
    prepared.build(groups)
    return prepared


def _cuts(config: ModelConfig, case: Case, stages: int) -> tuple[range, ...]:
    return Partition.of_model(config, stages, case.partition).ranges


def _check(context: RankContext, job: Job, case: Case, schedule: Schedule) -> None:
    check_case(job, case, schedule)
    ranks = Grid(schedule.devices, case.width).gpus
    if ranks > context.ranks:
        raise InputError(
            f"case {case.label!r} of {schedule.devices} devices x width {case.width}",
            f"needs {ranks} ranks where {context.ranks} were started",
            f"start {ranks} ranks",
        )
