"""A row of a comparison: the question that may cross to another process, and the answer that comes back."""

from __future__ import annotations

__all__ = ["Planned", "Question", "Row", "answer", "answer_elsewhere", "row_of", "schedule_of"]

import pickle
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from chimera.pipeline.actions import Action, Step
from chimera.pipeline.schedule import Plan, Schedule
from chimera.simulator.costs.profile import Profile
from chimera.simulator.costs.what_if import OutOfMemory
from chimera.simulator.memory.capacity import exceeded
from chimera.simulator.predicting.conditions import PLANS, Conditions
from chimera.simulator.predicting.predict import simulate
from chimera.simulator.predicting.prediction import Prediction
from chimera.simulator.predicting.steady_state import SteadyState
from chimera.simulator.workload.collector import collector_paused
from chimera.simulator.workload.structure import STRUCTURES

Planned = Schedule | Plan
_KEPT = ("schedule", "plan", "profile", "conditions", "source", "overlapping")
"""fields of a prediction that its asker has, or has made when they are asked for"""
_action: Callable[[tuple[object, ...]], Action] = partial(tuple.__new__, Action)


def schedule_of(planned: Planned) -> Schedule:
    """The schedule itself, or the one that a plan is of."""
    return planned.schedule if isinstance(planned, Plan) else planned


@dataclass(frozen=True, slots=True)
class Question:
    """One schedule under conditions."""

    planned: Planned
    profile: Profile
    conditions: Conditions

    def packed(self) -> bytes:
        """The question on its way to another process: rows as columns of numbers take a tenth of the time."""
        with collector_paused():
            rows = [_columns(row) for row in self.planned.actions]
            return pickle.dumps((replace(self, planned=replace(self.planned, actions=())), rows))

    @classmethod
    def unpacked(cls, packed: bytes) -> Question:
        """The question as it was."""
        question, rows = pickle.loads(packed)
        actions = tuple(map(_row_of, rows))
        return cls(replace(question.planned, actions=actions), question.profile, question.conditions)


def _columns(row: tuple[Step, ...]) -> tuple[bool, tuple[Any, ...]]:
    plain = all(len(action) == 5 for action in row)
    return (True, tuple(zip(*row, strict=True))) if plain else (False, row)


def _row_of(packed: tuple[bool, tuple[Any, ...]]) -> tuple[Step, ...]:
    plain, columns = packed
    return tuple(map(_action, zip(*columns, strict=True))) if plain else columns


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known already where a prediction would find it out when asked."""

    steady_state: SteadyState | None

    def __call__(self) -> SteadyState | None:
        return self.steady_state


@dataclass(frozen=True, slots=True)
class Row:
    """A prediction, and who exceeds the capacity."""

    prediction: Prediction
    out_of_memory: OutOfMemory | None


def answer(question: Question) -> bytes:
    """All that a prediction says beside what the asker has, pickled: in one process or in several, it is the same."""
    with collector_paused():
        prediction = simulate(question.planned, question.profile, question.conditions)
        capacity = question.conditions.capacity_bytes
        exceeds = None if capacity is None else exceeded(prediction, capacity)
        said = {each.name: getattr(prediction, each.name) for each in fields(prediction) if each.name not in _KEPT}
        overlaps = prediction.overlapping is not None
        return pickle.dumps((said, overlaps, prediction.steady_state, exceeds))


def answer_elsewhere(packed: bytes) -> bytes:
    """What `answer` says, of a question that has crossed processes; its plan is of no use to the next one."""
    with collector_paused():
        answered = answer(Question.unpacked(packed))
        PLANS.clear()
        STRUCTURES.clear()
        return answered


def row_of(question: Question, answered: bytes) -> Row:
    """The prediction that an answer makes of its question."""
    said, overlaps, steady, exceeds = pickle.loads(answered)
    prediction = Prediction(
        schedule=schedule_of(question.planned),
        profile=question.profile,
        conditions=question.conditions,
        source=None,
        plan=question.planned if isinstance(question.planned, Plan) else None,
        overlapping=_Known(steady) if overlaps else None,
        **said,
    )
    return Row(prediction, exceeds)
