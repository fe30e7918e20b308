"""Replays a plan on one rank, literally, and times everything it does."""

from __future__ import annotations

__all__ = ["Runtime"]

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch.autograd.profiler import record_function

from chimera.executor.data import Microbatch
from chimera.executor.iteration.acknowledge import acknowledgements
from chimera.executor.iteration.clipping import Clipping
from chimera.executor.iteration.computing import Computing, LocalKey, Mark
from chimera.executor.iteration.inspection import extents, message_of
from chimera.executor.iteration.mail import Mail
from chimera.executor.iteration.memory import held_bytes
from chimera.executor.iteration.record import IterationRecord, take_record
from chimera.executor.iteration.stage import StageWork
from chimera.executor.iteration.updates import Updates
from chimera.executor.ranks.clock import make_clock
from chimera.executor.ranks.context import RankContext
from chimera.pipeline.actions import COMMUNICATION, RECEIVES, SENDS, Action, Kind, Step
from chimera.pipeline.grid import Grid
from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.rules import batch_end, channel_of
from chimera.pipeline.schedule import Plan


class Runtime:
    """One rank's interpreter of a plan: `stages` by stage number, all-reduce `groups` by stage.

    `shapes[s]` is the shape of one sample as it leaves stage s. The plan is turned into a list of
    calls once; an iteration walks down that list and does nothing else. `directions` are the groups
    in which the replicas' messages travel, by replica; none: all in torch's own of all ranks. Without a
    `grid` there is one copy of the pipeline. Where
    messages go out in batches, receives are posted where the plan's global order issues their
    sends: batches that follow one another could wait in a circle otherwise.
    """

    def __init__(
        self,
        context: RankContext,
        plan: Plan,
        stages: Mapping[int, StageWork],
        *,
        rows: int,
        shapes: Sequence[tuple[int, ...]],
        dtype: torch.dtype,
        groups: Mapping[int, Any],
        directions: Sequence[Any] = (),
        grid: Grid | None = None,
        barrier: Any = None,
        clipping: Clipping | None = None,
    ) -> None:
        schedule = plan.schedule
        plan = rendezvous_safe(plan) if context.batched else plan
        self.context, self.plan, self.schedule, self.stages = context, plan, schedule, stages
        grid = grid or Grid(schedule.devices)
        copy, self.device, _ = grid.place_of(context.rank)
        self._rows, self._shapes, self._barrier = rows, shapes, barrier
        self._directions = directions or (None,) * schedule.replicas
        self._clock = make_clock(context.device)
        self.mail = Mail(self._clock, grid.copy_ranks(copy), context.device, dtype, batched=context.batched)
        # PipeDream takes every micro-batch for a mini-batch of its own.
        counted = 1 if schedule.update == "pipedream" else schedule.microbatches
        self._loss_factor = counted / schedule.microbatches
        self._marks: list[Mark] = []
        self._computing = Computing(
            schedule,
            self.device,
            stages,
            self.mail,
            self._clock,
            self._marks,
            acknowledged=acknowledgements(plan, self.device),
            rows=rows,
            share=1.0 / (counted * grid.width),
        )
        self.updates = Updates(stages, groups, self._clock, self._marks, clipping)
        self._program = [
            (context.progress.encode(str(action)), str(action), run)
            for action, run in zip(plan.actions[self.device], self._calls(), strict=True)
        ]

    def held_bytes(self) -> int:
        """Bytes held between iterations: weights in all versions, gradients, optimizer state."""
        return held_bytes(tensor for stage in self.stages.values() for tensor in stage.weights.tensors())

    def iteration(self, batch: Sequence[Microbatch], *, annotate: bool = False) -> IterationRecord:
        """Runs the plan once; `batch[m]` is micro-batch m of this copy of the pipeline.

        `annotate` marks every action for a profiler that is watching.
        """
        self._computing.batch = batch
        write = self.context.progress.write
        self.context.progress.at("waiting for the others to start an iteration")
        dist.barrier(group=self._barrier)
        self._clock.begin()
        begin = time.monotonic_ns()
        if annotate:
            for slot, name, run in self._program:
                write(slot)
                with record_function(f"chimera {name}"):
                    run()
        else:
            for slot, _, run in self._program:
                write(slot)
                run()
        self.mail.finish(self.context.progress.at)
        self._clock.finish()
        end = time.monotonic_ns()
        self.context.progress.at("between iterations")
        return self._record(begin, end)

    def _calls(self) -> list[Callable[[], None]]:
        """A call an action; the last message of a batch sends the batch off."""
        row = self.plan.actions[self.device]
        calls = [self._compile(action) for action in row]
        position = 0
        while self.context.batched and position < len(row):
            end = position + 1
            if row[position].kind in COMMUNICATION:
                end = batch_end(position, len(row), lambda place: self._channel(row[place]))
                calls[end - 1] = partial(_in_turn, calls[end - 1], self.mail.flush)
            position = end
        return calls

    def _channel(self, step: Step) -> tuple[int, int] | None:
        return channel_of(step, self.schedule) if step.kind in COMMUNICATION else None

    def _compile(self, step: Step) -> Callable[[], None]:
        if step.is_compute:
            return self._computing.call(step)
        assert isinstance(step, Action)
        if step.kind in (Kind.REDUCE_GRAD, Kind.STEP):
            return self.updates.call(step)
        message, group = message_of(step, self.schedule), self._directions[self.schedule.replica_of[step.microbatch]]
        if step.kind in RECEIVES:
            rows = sum(count for _, count in extents(step, self._rows))
            boundary = step.stage - 1 if step.kind is Kind.RECV_F else step.stage
            return partial(self.mail.post, step, message.source, (rows, *self._shapes[boundary]), group)
        assert step.kind in SENDS
        key = (step.stage, "F" if step.kind is Kind.SEND_F else "B", step.microbatch, step.half)
        return partial(self._send, message.receive, message.target, key, group)

    def _send(self, receive: Action, target: int, key: LocalKey, group: Any) -> None:
        self.mail.send(receive, target, self._computing.result(key), group)

    def _record(self, begin: int, end: int) -> IterationRecord:
        loss = sum(stage.take_loss() for stage in self.stages.values()) * self._loss_factor
        return take_record(begin, end, loss, self._marks, self.mail, self._clock, self.context.offset_ns)


def _in_turn(first: Callable[[], None], second: Callable[[], None]) -> None:
    first()
    second()
