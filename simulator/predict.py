"""One configuration predicted: schedule and profile in, timeline and metrics out."""

from __future__ import annotations

__all__ = ["Engine", "simulate"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

from pipeline.errors import DeadlockError, InputError, UnknownNameError
from pipeline.lowering import Receives, lower
from pipeline.schedule import Plan, Schedule
from pipeline.soundness.repair import rendezvous_safe
from pipeline.unroll import unrolled_plan
from simulator.assumptions import assumptions
from simulator.collector import collector_paused
from simulator.compiled.longest_path import CompiledWorkload
from simulator.contention import contention
from simulator.costs.durations import Durations
from simulator.costs.profile import Profile
from simulator.events import engine as reference
from simulator.events.engine import TRANSPORTS, Transport
from simulator.events.sharing import sharing_reason
from simulator.inflight import peak_activations, weights_copies
from simulator.intervals import sampled
from simulator.large import large_prediction
from simulator.posting import posted_late
from simulator.predicted_timeline import predicted_timeline
from simulator.prediction import Prediction
from simulator.reasons.bounds import lower_bound_ns
from simulator.recent import Recent
from simulator.sampling import has_jitter
from simulator.steady_state import SteadyState, iterations_for, steady_state
from simulator.times import Times
from simulator.what_if import check_links, check_slow, slowed
from simulator.workload import Workload

Engine = Literal["auto", "simpy", "compiled"]
PLANS: Recent[tuple[Schedule, int, Transport], Plan] = Recent(16, 300_000)
"""what the last few schedules were lowered to"""


def simulate(
    schedule: Schedule | Plan,
    profile: Profile,
    *,
    microbatch_size: int | None = None,
    width: int = 1,
    engine: Engine = "simpy",
    samples: int = 0,
    seed: int = 0,
    partition: Sequence[int] | None = None,
    semantics: Transport = "buffered",
    receives: Receives = "early",
    slow_devices: Mapping[int, float] | None = None,
) -> Prediction:
    """Predicts one iteration of a schedule (or of a plan, taken literally) on a machine.

    `width` data-parallel copies of the pipeline run alike and share the all-reduces. With
    `samples` > 0, durations are drawn that often from the profile's distribution and
    `interval_s` holds the 5th, 50th and 95th percentile of the iteration time. `semantics` says
    what a transport makes wait (`simulator.events.engine`); a schedule is lowered so that it is safe, and
    with streams its receives are posted early or late (`simulator.posting`). With
    `slow_devices`, device d computes that many times as long as the profile says.

    Raises DeadlockError for a plan that cannot finish, InputError for costs that do not fit.
    """
    asked = _Asked(microbatch_size, width, engine, samples, seed, partition, semantics, receives, dict(slow_devices or {}))
    _check(asked, profile, schedule.schedule if isinstance(schedule, Plan) else schedule)
    with collector_paused():
        found = _without_plan(schedule, profile, asked) or _prediction(_workload(schedule, profile, asked), asked)
    if isinstance(schedule, Plan) or schedule.update == "flush":
        return found
    return replace(found, overlapping=partial(_steady_state, schedule, profile, asked))


@dataclass(frozen=True, slots=True)
class _Asked:
    """The arguments of `simulate` beside schedule and profile."""

    microbatch_size: int | None
    width: int
    engine: Engine
    samples: int
    seed: int
    partition: Sequence[int] | None
    semantics: Transport
    receives: Receives
    slow_devices: Mapping[int, float]


def _without_plan(schedule: Schedule | Plan, profile: Profile, asked: _Asked) -> Prediction | None:
    """The prediction of a very large schedule, where that is possible and asked for."""
    if isinstance(schedule, Plan) or asked.engine == "simpy" or asked.semantics != "buffered":
        return None
    if asked.slow_devices or asked.samples:
        return None
    return large_prediction(schedule, profile, asked.microbatch_size, asked.width, asked.partition)


def _workload(schedule: Schedule | Plan, profile: Profile, asked: _Asked) -> Workload:
    """The plan with its costs under the conditions that were asked for."""

    def _costed(plan: Plan) -> Workload:
        durations = Durations(plan.schedule, profile, asked.microbatch_size, asked.partition)
        return Workload(plan, profile, durations, asked.width)

    workload = _costed(schedule if isinstance(schedule, Plan) else _lowered(schedule, asked.width, asked.semantics))
    if isinstance(schedule, Schedule) and asked.semantics == "stream" and asked.receives == "late":
        workload = _costed(posted_late(workload))
    if asked.slow_devices:
        workload.work_ns = slowed(workload, asked.slow_devices)
    return workload


def _prediction(workload: Workload, asked: _Asked) -> Prediction:
    """What the engine and the draws say."""
    plan, durations, width = workload.plan, workload.durations, asked.width
    compiled = _compiled(workload, asked.engine, asked.semantics)
    times = _times(workload, compiled, asked)
    found = predicted_timeline(workload, times)
    samples = durations.microbatch_size * plan.schedule.microbatches * width
    draws = sampled(workload, compiled, asked.samples, asked.seed, asked.semantics) if asked.samples else None
    return Prediction(
        schedule=plan.schedule,
        profile=workload.profile,
        source=found,
        metrics=found.metrics(samples),
        assumptions=_assumptions(workload, asked),
        microbatch_size=durations.microbatch_size,
        width=width,
        engine="compiled" if compiled else "simpy",
        lower_bound_s=lower_bound_ns(workload) / 1e9,
        peak_activations=peak_activations(plan.schedule),
        partition=None if asked.partition is None else tuple(asked.partition),
        weights_copies=weights_copies(plan),
        interval_s=draws.interval_s if draws else None,
        typical=draws.typical if draws else None,
        draws_ns=draws.draws_ns if draws else None,
        slow_devices=asked.slow_devices,
    )


def _times(workload: Workload, compiled: CompiledWorkload | None, asked: _Asked) -> Times:
    return compiled.times() if compiled else reference.run(workload, None, asked.semantics)


def _steady_state(schedule: Schedule, profile: Profile, asked: _Asked) -> SteadyState | None:
    """Of iterations back to back, of the median durations; None if devices then wait for one another.

    That can be in orders of one's own with several replicas, whose all-reduces hold up other iterations.
    """
    count = iterations_for(schedule)
    with collector_paused():
        try:
            plan = unrolled_plan(schedule, count, width=asked.width)
            workload = _workload(_safe(plan, asked.semantics), profile, asked)
            times = _times(workload, _compiled(workload, asked.engine, asked.semantics), asked)
        except DeadlockError:
            return None
    samples = workload.durations.microbatch_size * schedule.microbatches * asked.width
    return steady_state(workload, times, count, samples)


def _assumptions(workload: Workload, asked: _Asked) -> tuple[str, ...]:
    equal = asked.samples and not has_jitter(workload)
    sends, sharing = bool(workload.messages), sharing_reason(workload)
    found = assumptions(workload.durations, asked.microbatch_size, asked.width, sends, sharing, equal)
    slow = (f"device {device} computes {factor:g} times as long" for device, factor in asked.slow_devices.items())
    return (*found, *slow)


def _lowered(schedule: Schedule, width: int, semantics: Transport) -> Plan:
    """The plan, kept for the last few schedules: studies change costs more often than orders."""
    weight = 3 * sum(map(len, schedule.actions))
    return PLANS.get((schedule, width, semantics), lambda _: _made(schedule, width, semantics), weight=weight)


def _made(schedule: Schedule, width: int, semantics: Transport) -> Plan:
    return _safe(lower(schedule, width=width), semantics)


def _safe(plan: Plan, semantics: Transport) -> Plan:
    """Messages in an order in which no transport gets stuck."""
    return plan if semantics == "buffered" else rendezvous_safe(plan)


def _compiled(workload: Workload, engine: Engine, semantics: Transport) -> CompiledWorkload | None:
    """The compiled engine if it is asked for, or if it is left open and nothing contends."""
    if engine == "compiled" and semantics != "buffered":
        raise InputError("engine 'compiled'", f"cannot answer: messages are {semantics}", "use --engine simpy")
    if engine == "compiled" or (engine == "auto" and semantics == "buffered" and contention(workload) is None):
        return CompiledWorkload(workload)
    return None


def _check(asked: _Asked, profile: Profile, schedule: Schedule) -> None:
    if asked.engine not in get_args(Engine):
        raise UnknownNameError("engine", asked.engine, get_args(Engine))
    if asked.semantics not in TRANSPORTS:
        raise UnknownNameError("semantics", asked.semantics, TRANSPORTS)
    least = (
        ("samples", asked.samples, 0), ("seed", asked.seed, 0), ("width", asked.width, 1),
        ("micro-batch size", asked.microbatch_size, 1),
    )  # fmt: skip
    for name, value, lowest in least:
        if value is not None and value < lowest:
            raise InputError(f"{name} {value}", f"is less than {lowest}", f"give {lowest} or more")
    check_slow(asked.slow_devices, schedule.devices)
    check_links(profile, schedule.devices)
