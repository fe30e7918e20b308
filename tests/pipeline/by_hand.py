"""Schedules and plans written as text, their fates, and the whole catalogue at a few sizes."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["everything", "fate", "fates", "plan_of", "schedule_of"]

from dataclasses import replace
from itertools import product

import pytest

from chimera.pipeline.actions import parse_action
from chimera.pipeline.errors import DeadlockError, InputError
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.schedules import build, catalogue
from chimera.pipeline.soundness.check import check_plan


def schedule_of(*rows: str, placement: tuple[tuple[int, ...], ...] | None = None, **fields: object) -> Schedule:
    """A schedule written as text, one row of actions a device; one stage a device unless placed otherwise."""
    actions = tuple(tuple(map(parse_action, row.split())) for row in rows)
    parts = [part for row in actions for action in row for part in action.parts]
    stages = 1 + max(part.stage for part in parts)
    microbatches = 1 + max(m for part in parts for m in part.microbatches)
    return Schedule(
        name="by hand",
        stages=stages,
        devices=len(rows),
        microbatches=microbatches,
        placement=placement or (tuple(range(stages)),),
        replica_of=tuple(fields.pop("replica_of", (0,) * microbatches)),  # type: ignore[arg-type]
        actions=actions,
        **fields,  # type: ignore[arg-type]
    )


def plan_of(
    *rows: str,
    placement: tuple[tuple[int, ...], ...] | None = None,
    order: tuple[int, ...] | None = None,
    **fields: object,
) -> Plan:
    """A plan written as text; its order, unless given, is device by device as far as each can get."""
    actions = tuple(tuple(map(parse_action, row.split())) for row in rows)
    computed = (" ".join(str(action) for action in row if action.is_compute) for row in actions)
    plan = Plan(schedule_of(*computed, placement=placement, **fields), actions, order or ())
    return plan if order is not None else replace(plan, order=greedy_order(plan))


def greedy_order(plan: Plan) -> tuple[int, ...]:
    """Device by device while sends come before what consumes them; stops where nobody can go on."""
    sent: set[str] = set()
    position = [0] * len(plan.actions)
    order: list[int] = []
    moved = True
    while moved:
        moved = False
        for device, row in enumerate(plan.actions):
            while position[device] < len(row):
                action = row[position[device]]
                needs = [f"{p.stage - 1}SEND_F{p.microbatch}" for p in action.parts if p.kind == "F" and p.stage]
                needs += [
                    f"{p.stage + 1}SEND_B{p.microbatch}"
                    for p in action.parts
                    if p.kind in ("B", "I") and p.stage < plan.schedule.stages - 1
                ]
                held = plan.schedule.held_by(device)
                needs = [need for need in needs if (0, int(need.split("S")[0])) not in held]
                if not sent.issuperset(needs):
                    break
                sent.add(str(action))
                position[device] += 1
                order.append(device)
                moved = True
    return tuple(order)


def fate(plan: Plan, semantics: str) -> str:
    try:
        check_plan(plan, semantics)  # type: ignore[arg-type]
    except DeadlockError:
        return "deadlock"
    return "runs"


def fates(plan: Plan) -> tuple[str, str, str]:
    return fate(plan, "buffered"), fate(plan, "rendezvous"), fate(plan, "batched")


def everything(depths: tuple[int, ...] = (2, 4)) -> Sequence[object]:
    """Every schedule of the catalogue at these depths, of 4 and 8 micro-batches, as parameters of a test."""
    cases = []
    for item, devices, microbatches in product(catalogue(), depths, (4, 8)):
        try:
            schedule = build(item.name, stages=devices, microbatches=microbatches)
        except InputError:
            continue
        cases.append(pytest.param(schedule, id=f"{item.name}-{devices}-{microbatches}"))
    return cases
