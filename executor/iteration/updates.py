"""What follows the backwards of one rank: all-reduces of gradients, clipping, optimizer steps."""

from __future__ import annotations

__all__ = ["Updates"]

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from chimera.executor.iteration.clipping import Clipping
from chimera.executor.iteration.computing import Mark
from chimera.executor.iteration.reduction import Reduction
from chimera.executor.iteration.stage import StageWork
from chimera.executor.ranks.clock import Clock
from chimera.pipeline.actions import Action, Kind


class Updates:
    """Turns REDUCE_GRADs and STEPs into calls, in the order in which `call` is asked for them.

    `groups` all-reduce by stage; `clipping` comes right before the first step of an iteration, when
    all of the rank's all-reduces are done. Everything is noted in `marks`.
    """

    def __init__(
        self,
        stages: Mapping[int, StageWork],
        groups: Mapping[int, Any],
        clock: Clock,
        marks: list[Mark],
        clipping: Clipping | None,
    ) -> None:
        self._stages, self._groups, self._clipping = stages, groups, clipping
        self._mark, self._note = clock.mark, marks.append
        self._running: dict[int, Reduction] = {}
        self._stepped = False
        self.before_step: Callable[[int], None] | None = None
        """called with the stage when its gradients are complete, before the optimizer uses them"""

    def call(self, action: Action) -> Callable[[], None]:
        """What runs a REDUCE_GRAD or a STEP."""
        if action.kind is Kind.REDUCE_GRAD:
            return partial(self._reduce, action)
        first, self._stepped = not self._stepped, True
        return partial(self._clipped_step if first and self._clipping is not None else self._step, action)

    def _reduce(self, action: Action) -> None:
        flat = self._stages[action.stage].weights.gradient
        self._running[action.stage] = Reduction(action, flat, self._groups[action.stage], self._mark)

    def _clipped_step(self, action: Action) -> None:
        """The first step of an iteration whose gradients have a common norm: all must be complete."""
        assert self._clipping is not None
        for stage in tuple(self._running):
            self._await(stage)
        start = self._mark()
        self._clipping()
        self._note(("sync", action, start, self._mark()))
        self._step(action)

    def _step(self, action: Action) -> None:
        self._await(action.stage)
        if self.before_step:
            self.before_step(action.stage)
        start = self._mark()
        self._stages[action.stage].step()
        self._note(("optimizer", action, start, self._mark()))

    def _await(self, stage: int) -> None:
        if reduction := self._running.pop(stage, None):
            self._note(("sync", reduction.action, reduction.started, reduction.wait()))
