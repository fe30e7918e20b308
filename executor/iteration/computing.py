"""The compute actions of one rank: where their inputs come from, and what becomes of their results."""

from __future__ import annotations

__all__ = ["Computing", "LocalKey", "Mark"]

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from chimera.executor.data import Microbatch
from chimera.executor.iteration.inspection import extents, halved, pieces_of
from chimera.executor.iteration.mail import Mail
from chimera.executor.iteration.stage import StageWork
from chimera.executor.ranks.clock import Clock
from chimera.pipeline.actions import Action, Kind, Step
from chimera.pipeline.rules import message_for
from chimera.pipeline.schedule import Schedule

LocalKey = tuple[int, str, int, int]
"""(stage, "F" | "B", micro-batch, half): a result that stays on this device"""
Mark = tuple[str, Step, Any, Any]
"""(stream, action, start, end), in marks of the clock"""
_Source = Action | tuple[LocalKey, ...] | None
"""where an input comes from: a receive, local results, or nowhere"""
_Work = Callable[[Tensor | None], None]


class Computing:
    """Turns compute actions into calls; notes in `marks` when each began, its inputs being there, and ended.

    `acknowledged` are the own messages that each receive proves delivered (see
    `chimera.executor.iteration.acknowledge`); `rows` and `share` are those of a micro-batch.
    """

    def __init__(
        self,
        schedule: Schedule,
        device: int,
        stages: Mapping[int, StageWork],
        mail: Mail,
        clock: Clock,
        marks: list[Mark],
        *,
        acknowledged: Mapping[Action, tuple[Action, ...]],
        rows: int,
        share: float,
    ) -> None:
        self._schedule, self._device, self._stages, self._mail = schedule, device, stages, mail
        self._mark, self._note = clock.mark, marks.append
        self._acknowledged, self._rows, self._share = acknowledged, rows, share
        self._halved = halved(schedule, device)
        self._local: dict[LocalKey, Tensor] = {}
        self.batch: Sequence[Microbatch] = ()
        """the micro-batches of the iteration that runs"""

    def call(self, step: Step) -> Callable[[], None]:
        """What runs a compute action: inputs of all parts first, so that an overlapped pair's span has no waiting."""
        takes = [partial(self._take, self._source(part)) for part in step.parts]
        works = [self._work(part) for part in step.parts]
        if len(works) == 1:
            return partial(self._one, step, takes[0], works[0])
        return partial(self._several, step, takes, works)

    def result(self, key: LocalKey) -> Tensor:
        """A result that is taken away, once."""
        return self._local.pop(key)

    def _one(self, step: Step, take: Callable[[], Tensor | None], work: _Work) -> None:
        given = take()
        start = self._mark()
        work(given)
        self._note(("compute", step, start, self._mark()))

    def _several(self, step: Step, takes: Sequence[Callable[[], Tensor | None]], works: Sequence[_Work]) -> None:
        taken = [take() for take in takes]
        start = self._mark()
        for work, given in zip(works, taken, strict=True):
            work(given)
        self._note(("compute", step, start, self._mark()))

    def _source(self, part: Action) -> _Source:
        if part.kind is Kind.W or (part.kind is not Kind.F and part.stage == self._schedule.stages - 1):
            return None
        message = message_for(part, self._schedule)
        if message is not None:
            return message.receive
        if part.kind is Kind.F:
            return tuple((part.stage - 1, "F", m, -1) for m in part.microbatches) if part.stage else None
        return ((part.stage + 1, "B", part.microbatch, part.half),)

    def _take(self, source: _Source) -> Tensor | None:
        if source is None:
            return None
        if isinstance(source, Action):
            tensor = self._mail.take(source)
            for delivered in self._acknowledged.get(source, ()):
                self._mail.release(delivered)
            return tensor
        return _joined([self._local.pop(key) for key in source])

    def _work(self, part: Action) -> _Work:
        stage = self._stages[part.stage]
        if part.kind is Kind.F:
            return self._forward_work(part)
        key = (part.microbatch, part.half)
        if part.kind is Kind.W:
            return lambda _: stage.backward_weights(key)
        return partial(self._backward, stage, key, part.kind is Kind.B, (part.stage, "B", *key))

    def _backward(
        self, stage: StageWork, key: tuple[int, int], weights: bool, local: LocalKey, gradient: Tensor | None
    ) -> None:
        result = stage.backward(key, gradient, weights)
        if result is not None:
            self._local[local] = result

    def _forward_work(self, part: Action) -> _Work:
        stage, number, numbers = self._stages[part.stage], part.stage, part.microbatches
        pieces = pieces_of(part, self._rows, self._share, self._halved)
        first, last = number == 0, number == self._schedule.stages - 1
        places = {(number, "F", m, -1): extent for m, extent in zip(numbers, extents(part, self._rows), strict=True)}
        together = (number, "F", part.microbatch, -1) if self._leaves_together(part) else None

        def _forward(given: Tensor | None) -> None:
            if first:
                given = _joined([self.batch[m].inputs for m in numbers])
            assert given is not None
            targets = _joined([self.batch[m].targets for m in numbers]) if last else None
            output = stage.forward(pieces, given, targets)
            if not last:
                self._keep(output, together, places)

        return _forward

    def _keep(self, output: Tensor, together: LocalKey | None, places: Mapping[LocalKey, tuple[int, int]]) -> None:
        """A forward's output, whole or by micro-batch: (first row, rows)."""
        if together is not None:
            self._local[together] = output
            return
        for key, (start, count) in places.items():
            self._local[key] = output[start : start + count]

    def _leaves_together(self, part: Action) -> bool:
        """Whether a forward's output is one tensor to whoever takes it (one message or one micro-batch)."""
        if part.also < 0:
            return True
        following = part.stage + 1
        return (
            following < self._schedule.stages and self._schedule.device_of(following, part.microbatch) != self._device
        )


def _joined(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
