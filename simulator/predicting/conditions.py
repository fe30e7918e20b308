"""Under which conditions a schedule is predicted, and the plan with its costs under them."""

from __future__ import annotations

__all__ = ["PLAIN", "PLANS", "Conditions", "check", "fitted", "unrolled_workload", "workload_under"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.lowering.lower import Receives, lower
from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.lowering.unroll import unrolled_plan
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedule import Plan, Schedule
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import Profile
from chimera.simulator.costs.stage_costs import stage_costs
from chimera.simulator.costs.what_if import check_links, check_slow, slowed
from chimera.simulator.engines.choice import Engine, check_engine
from chimera.simulator.engines.exchanges import TRANSPORTS, Transport
from chimera.simulator.predicting.posting import posted_late
from chimera.simulator.workload.recent import Recent
from chimera.simulator.workload.workload import Workload

PLANS: Recent[tuple[Schedule, int, Transport], Plan] = Recent(16, 300_000)
"""what the last few schedules were lowered to: studies change costs more often than orders"""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Everything beside schedule and profile that is asked of a prediction.

    `width` data-parallel copies of the pipeline run alike and share the all-reduces. `semantics`
    says what a transport makes wait (`chimera.simulator.engines.exchanges`); with streams, `receives` are posted
    early or late (`chimera.simulator.predicting.posting`). Device d of `slow_devices` computes that many times as long
    as the profile says. `partition` is layers per stage, or `balanced` or `count`, where that is chosen.

    With `samples` > 0, durations are drawn that often from the profile's distribution, from streams
    that begin with `seed`. `engine` is who answers (`chimera.simulator.engines.choice`): all of them say the same, so
    it counts for no comparison. `capacity_bytes` is the memory of a device, where it matters who exceeds it.
    """

    microbatch_size: int | None = None
    width: int = 1
    partition: tuple[int, ...] | str | None = None
    semantics: Transport = "buffered"
    receives: Receives = "early"
    slow_devices: Mapping[int, float] = field(default_factory=dict)
    engine: Engine | None = field(default=None, compare=False)
    samples: int = 0
    seed: int = 0
    capacity_bytes: int | None = None

    @property
    def layers_per_stage(self) -> tuple[int, ...] | None:
        """The partition as numbers; `fitted` conditions have no other."""
        assert not isinstance(self.partition, str), "fitted to no schedule yet"
        return self.partition


PLAIN = Conditions()


def check(conditions: Conditions, profile: Profile, schedule: Schedule) -> None:
    """Raises InputError for numbers out of range and devices that do not exist, UnknownNameError for names."""
    check_engine(conditions.engine)
    if conditions.semantics not in TRANSPORTS:
        raise UnknownNameError("semantics", conditions.semantics, TRANSPORTS)
    least_one = {
        "width": conditions.width,
        "micro-batch size": conditions.microbatch_size,
        "capacity in bytes": conditions.capacity_bytes,
    }
    for name, value in least_one.items():
        if value is not None and value < 1:
            raise InputError(f"{name} {value}", "is less than 1", "give 1 or more")
    for name, value in (("samples", conditions.samples), ("seed", conditions.seed)):
        if value < 0:
            raise InputError(f"{name} {value}", "is less than 0", "give 0 or more")
    check_slow(conditions.slow_devices, schedule.devices)
    check_links(profile, schedule.devices)


def fitted(conditions: Conditions, profile: Profile, schedule: Schedule) -> Conditions:
    """The conditions, checked, a partition in words cut for this schedule; raises what `check` does, and InputError."""
    check(conditions, profile, schedule)
    text = conditions.partition
    if not isinstance(text, str):
        return conditions
    if profile.per_stage:
        remedy = "give --profile of a calibration"
        raise InputError(f"--partition {text} with equal stages", "which know no layers", remedy)
    count = sum(layer.repeat for layer in profile.layers)
    layers = stage_costs(profile, count, partition=(1,) * count)
    costs = [layer.forward_ns + layer.backward_ns for layer in layers]
    return replace(conditions, partition=Partition.of(text, costs, schedule.stages).counts)


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
    durations = Durations(plan.schedule, profile, conditions.microbatch_size, conditions.layers_per_stage)
    workload = Workload(plan, profile, durations, conditions.width)
    if conditions.slow_devices:
        workload.work_ns = slowed(workload, conditions.slow_devices)
    return workload
