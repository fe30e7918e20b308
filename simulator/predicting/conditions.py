"""Under which conditions a schedule is predicted, and the plan with its costs under them."""

from __future__ import annotations

__all__ = ["PLAIN", "PLANS", "Conditions", "check", "unrolled_workload", "workload_under"]

from collections.abc import Mapping
from dataclasses import dataclass, field

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.lowering.lower import Receives, lower
from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.lowering.unroll import unrolled_plan
from chimera.pipeline.schedule import Plan, Schedule
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import Profile
from chimera.simulator.costs.what_if import check_links, check_slow, slowed
from chimera.simulator.engines.direct.engine import TRANSPORTS, Transport
from chimera.simulator.predicting.posting import posted_late
from chimera.simulator.predicting.recent import Recent
from chimera.simulator.workload.workload import Workload

PLANS: Recent[tuple[Schedule, int, Transport], Plan] = Recent(16, 300_000)
"""what the last few schedules were lowered to: studies change costs more often than orders"""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Everything beside schedule and profile that decides when something happens.

    `width` data-parallel copies of the pipeline run alike and share the all-reduces. `semantics`
    says what a transport makes wait (`chimera.simulator.engines.direct.engine`); with streams, `receives` are posted
    early or late (`chimera.simulator.predicting.posting`). Device d of `slow_devices` computes that many times as long
    as the profile says. `partition` is layers per stage, where that is chosen.
    """

    microbatch_size: int | None = None
    width: int = 1
    partition: tuple[int, ...] | None = None
    semantics: Transport = "buffered"
    receives: Receives = "early"
    slow_devices: Mapping[int, float] = field(default_factory=dict)


PLAIN = Conditions()


def check(conditions: Conditions, profile: Profile, schedule: Schedule) -> None:
    """Raises InputError for numbers out of range and devices that do not exist."""
    if conditions.semantics not in TRANSPORTS:
        raise UnknownNameError("semantics", conditions.semantics, TRANSPORTS)
    for name, value in (("width", conditions.width), ("micro-batch size", conditions.microbatch_size)):
        if value is not None and value < 1:
            raise InputError(f"{name} {value}", "is less than 1", "give 1 or more")
    check_slow(conditions.slow_devices, schedule.devices)
    check_links(profile, schedule.devices)


def workload_under(planned: Schedule | Plan, profile: Profile, conditions: Conditions) -> Workload:
    """The plan with its costs; a schedule is lowered so that it is safe, a plan taken literally."""
    if isinstance(planned, Plan):
        return _costed(planned, profile, conditions)
    key = (planned, conditions.width, conditions.semantics)
    plan = PLANS.get(key, lambda _: _lowered(planned, conditions), weight=3 * sum(map(len, planned.actions)))
    return _posted(plan, profile, conditions)


def unrolled_workload(schedule: Schedule, iterations: int, profile: Profile, conditions: Conditions) -> Workload:
    """The same of so many iterations without a flush; raises DeadlockError where devices then wait for one another."""
    plan = unrolled_plan(schedule, iterations, width=conditions.width)
    return _posted(_safe(plan, conditions.semantics), profile, conditions)


def _lowered(schedule: Schedule, conditions: Conditions) -> Plan:
    return _safe(lower(schedule, width=conditions.width), conditions.semantics)


def _safe(plan: Plan, semantics: Transport) -> Plan:
    """Messages in an order in which no transport gets stuck."""
    return plan if semantics == "buffered" else rendezvous_safe(plan)


def _posted(plan: Plan, profile: Profile, conditions: Conditions) -> Workload:
    """With receives where they are asked for."""
    workload = _costed(plan, profile, conditions)
    if conditions.semantics == "stream" and conditions.receives == "late":
        return _costed(posted_late(workload), profile, conditions)
    return workload


def _costed(plan: Plan, profile: Profile, conditions: Conditions) -> Workload:
    durations = Durations(plan.schedule, profile, conditions.microbatch_size, conditions.partition)
    workload = Workload(plan, profile, durations, conditions.width)
    if conditions.slow_devices:
        workload.work_ns = slowed(workload, conditions.slow_devices)
    return workload
