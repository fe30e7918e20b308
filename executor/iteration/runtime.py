"""Replays a plan on one rank, literally, and times everything it does."""

from __future__ import annotations

__all__ = ["Runtime"]

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.profiler import record_function

from executor.data import Microbatch
from executor.iteration.acknowledge import acknowledgements
from executor.iteration.clipping import Clipping
from executor.iteration.inspection import extents, halved, message_of, pieces_of
from executor.iteration.mail import Mail
from executor.iteration.memory import held_bytes
from executor.iteration.record import IterationRecord, take_record
from executor.iteration.reduction import Reduction
from executor.iteration.stage import StageWork
from executor.ranks.clock import make_clock
from executor.ranks.context import RankContext
from pipeline.actions import COMMUNICATION, RECEIVES, SENDS, Action, Kind, Step
from pipeline.dependencies import message_for, peer_of
from pipeline.schedule import Plan
from pipeline.soundness.batches import batch_end
from pipeline.soundness.repair import rendezvous_safe

_LocalKey = tuple[int, str, int, int]
"""(stage, "F" | "B", micro-batch, half): a result that stays on this device"""


class Runtime:
    """One rank's interpreter of a plan: `stages` by stage number, all-reduce `groups` by stage.

    `shapes[s]` is the shape of one sample as it leaves stage s. The plan is turned into a list of
    calls once; an iteration walks down that list and does nothing else. `clipping` comes right
    before the first optimizer step, when the rank's all-reduces are done. Where messages go out in
    batches, receives are posted where the plan's global order issues their sends: batches that
    follow one another could wait in a circle otherwise.
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
        group: Any = None,
        width: int = 1,
        barrier: Any = None,
        clipping: Clipping | None = None,
    ) -> None:
        schedule = plan.schedule
        plan = rendezvous_safe(plan) if context.batched else plan
        self.context, self.plan, self.schedule, self.stages = context, plan, schedule, stages
        self.device = context.rank % schedule.devices
        self._rows, self._shapes, self._groups, self._barrier = rows, shapes, groups, barrier
        self._clock = make_clock(context.device)
        base = context.rank - self.device
        self.mail = Mail(self._clock, base, context.device, dtype, group, batched=context.batched)
        # PipeDream takes every micro-batch for a mini-batch of its own.
        counted = 1 if schedule.update == "pipedream" else schedule.microbatches
        self._share, self._loss_factor = 1.0 / (counted * width), counted / schedule.microbatches
        self._halved = halved(schedule, self.device)
        self._acknowledged = acknowledgements(plan, self.device)
        self._local: dict[_LocalKey, Tensor] = {}
        self._reductions: dict[int, Reduction] = {}
        self._marks: list[tuple[str, Step, Any, Any]] = []
        self._batch: Sequence[Microbatch] = ()
        self._clipping = clipping
        self.before_step: Callable[[int], None] | None = None
        """called with the stage when its gradients are complete, before the optimizer uses them"""
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
        self._batch = batch
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
                end = batch_end(row, position, lambda place: peer_of(_plain(row[place]), self.schedule))
                calls[end - 1] = partial(_in_turn, calls[end - 1], self.mail.flush)
            position = end
        return calls

    def _compile(self, step: Step) -> Callable[[], None]:
        if step.is_compute:
            return self._compile_compute(step)
        assert isinstance(step, Action)
        if step.kind is Kind.REDUCE_GRAD:
            return partial(self._reduce, step)
        if step.kind is Kind.STEP:
            first = self._clipping is not None and step == self._first_step()
            return partial(self._clipped_step if first else self._step, step)
        message = message_of(step, self.schedule)
        if step.kind in RECEIVES:
            rows = sum(count for _, count in extents(step, self._rows))
            boundary = step.stage - 1 if step.kind is Kind.RECV_F else step.stage
            return partial(self.mail.post, step, message.source, (rows, *self._shapes[boundary]))
        assert step.kind in SENDS
        key = (step.stage, "F" if step.kind is Kind.SEND_F else "B", step.microbatch, step.half)
        return partial(self._send, message.receive, message.target, key)

    def _compile_compute(self, step: Step) -> Callable[[], None]:
        """Inputs of all parts first, then the parts: an overlapped pair is one span without waiting."""
        takes = [partial(self._take, self._source(part)) for part in step.parts]
        works = [self._work(part) for part in step.parts]
        (take, work), mark, note = (takes[0], works[0]), self._clock.mark, self._marks.append

        def one() -> None:
            given = take()
            start = mark()
            work(given)
            note(("compute", step, start, mark()))

        def several() -> None:
            taken = [each() for each in takes]
            start = mark()
            for each, given in zip(works, taken, strict=True):
                each(given)
            note(("compute", step, start, mark()))

        return one if len(works) == 1 else several

    def _source(self, part: Action) -> Action | tuple[_LocalKey, ...] | None:
        """Where a part's input comes from: a receive, local results, or nowhere."""
        if part.kind is Kind.W or (part.kind is not Kind.F and part.stage == self.schedule.stages - 1):
            return None
        message = message_for(part, self.schedule)
        if message is not None:
            return message.receive
        if part.kind is Kind.F:
            return tuple((part.stage - 1, "F", m, -1) for m in part.microbatches) if part.stage else None
        return ((part.stage + 1, "B", part.microbatch, part.half),)

    def _take(self, source: Action | tuple[_LocalKey, ...] | None) -> Tensor | None:
        if source is None:
            return None
        if isinstance(source, Action):
            tensor = self.mail.take(source)
            for delivered in self._acknowledged.get(source, ()):
                self.mail.release(delivered)
            return tensor
        tensors = [self._local.pop(key) for key in source]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def _work(self, part: Action) -> Callable[[Tensor | None], None]:
        stage, number = self.stages[part.stage], part.stage
        if part.kind is Kind.F:
            return self._forward_work(part)
        key = (part.microbatch, part.half)
        if part.kind is Kind.W:
            return lambda _: stage.backward_weights(key)
        weights, local = part.kind is Kind.B, (number, "B", *key)

        def backward(gradient: Tensor | None) -> None:
            result = stage.backward(key, gradient, weights)
            if result is not None:
                self._local[local] = result

        return backward

    def _forward_work(self, part: Action) -> Callable[[Tensor | None], None]:
        stage, numbers = self.stages[part.stage], part.microbatches
        pieces = pieces_of(part, self._rows, self._share, self._halved)
        first, last = part.stage == 0, part.stage == self.schedule.stages - 1
        places = extents(part, self._rows)
        together = self._leaves_together(part)

        def forward(given: Tensor | None) -> None:
            if first:
                given = _joined([self._batch[m].inputs for m in numbers])
            assert given is not None
            targets = _joined([self._batch[m].targets for m in numbers]) if last else None
            output = stage.forward(pieces, given, targets)
            if last:
                return
            if together:
                self._local[part.stage, "F", part.microbatch, -1] = output
                return
            for m, (start, count) in zip(numbers, places, strict=True):
                self._local[part.stage, "F", m, -1] = output[start : start + count]

        return forward

    def _leaves_together(self, part: Action) -> bool:
        """Whether a forward's output is one tensor to whoever takes it (one message or one micro-batch)."""
        if part.also < 0:
            return True
        following = part.stage + 1
        return following < self.schedule.stages and self.schedule.device_of(following, part.microbatch) != self.device

    def _send(self, receive: Action, target: int, key: _LocalKey) -> None:
        self.mail.send(receive, target, self._local.pop(key))

    def _reduce(self, action: Action) -> None:
        flat = self.stages[action.stage].weights.gradient
        self._reductions[action.stage] = Reduction(action, flat, self._groups[action.stage], self._clock.mark)

    def _first_step(self) -> Step:
        return next(step for step in self.plan.actions[self.device] if step.kind is Kind.STEP)

    def _clipped_step(self, action: Action) -> None:
        """The first step of an iteration whose gradients have a common norm: all must be complete."""
        assert self._clipping is not None
        for stage in tuple(self._reductions):
            self._await_reduction(stage)
        start = self._clock.mark()
        self._clipping()
        self._marks.append(("sync", action, start, self._clock.mark()))
        self._step(action)

    def _step(self, action: Action) -> None:
        self._await_reduction(action.stage)
        if self.before_step:
            self.before_step(action.stage)
        start = self._clock.mark()
        self.stages[action.stage].step()
        self._marks.append(("optimizer", action, start, self._clock.mark()))

    def _await_reduction(self, stage: int) -> None:
        if reduction := self._reductions.pop(stage, None):
            self._marks.append(("sync", reduction.action, reduction.started, reduction.wait()))

    def _record(self, begin: int, end: int) -> IterationRecord:
        loss = sum(stage.take_loss() for stage in self.stages.values()) * self._loss_factor
        return take_record(begin, end, loss, self._marks, self.mail, self._clock, self.context.offset_ns)


def _in_turn(first: Callable[[], None], second: Callable[[], None]) -> None:
    first()
    second()


def _plain(step: Step) -> Action:
    assert isinstance(step, Action)
    return step


def _joined(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
