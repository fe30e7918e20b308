"""One configuration predicted: schedule and profile in, timeline and metrics out."""

from __future__ import annotations

__all__ = ["Engine", "simulate"]

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from pipeline.errors import InputError, UnknownNameError
from pipeline.lowering import Receives, lower
from pipeline.metrics import measure
from pipeline.repair import rendezvous_safe
from pipeline.schedule import Plan, Schedule
from simulator import engine as reference
from simulator.assumptions import assumptions
from simulator.bounds import lower_bound_ns
from simulator.collector import collector_paused
from simulator.compiled import CompiledWorkload, contention
from simulator.durations import Durations
from simulator.engine import TRANSPORTS, Transport
from simulator.inflight import peak_activations, weights_copies
from simulator.intervals import sampled
from simulator.large_prediction import large_prediction
from simulator.posting import posted_late
from simulator.predicted_timeline import predicted_timeline
from simulator.prediction import Prediction
from simulator.profile import Profile
from simulator.recent import Recent
from simulator.sampling import has_jitter
from simulator.sharing import sharing_reason
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
    what a transport makes wait (`simulator.engine`); a schedule is lowered so that it is safe, and
    with streams its receives are posted early or late (`simulator.posting`). With
    `slow_devices`, device d computes that many times as long as the profile says.

    Raises DeadlockError for a plan that cannot finish, InputError for costs that do not fit.
    """
    _check(engine, semantics, samples, width, microbatch_size)
    slow = dict(slow_devices or {})
    devices = (schedule.schedule if isinstance(schedule, Plan) else schedule).devices
    check_slow(slow, devices)
    check_links(profile, devices)
    if isinstance(schedule, Schedule) and not slow and engine != "simpy" and semantics == "buffered" and not samples:
        with collector_paused():
            large = large_prediction(schedule, profile, microbatch_size, width, partition)
        if large is not None:
            return large
    with collector_paused():
        plan = schedule if isinstance(schedule, Plan) else _lowered(schedule, width, semantics)
        if isinstance(schedule, Schedule) and receives == "late" and semantics == "stream":
            plan = posted_late(Workload(plan, profile, Durations(plan.schedule, profile, microbatch_size, partition), width))
        durations = Durations(plan.schedule, profile, microbatch_size, partition)
        workload = Workload(plan, profile, durations, width)
        if slow:
            workload.work_ns = slowed(workload, slow)
        compiled = _compiled(workload, engine, semantics)
        times = compiled.times() if compiled else reference.run(workload, None, semantics)
        timeline = predicted_timeline(workload, times)
        metrics = measure(
            timeline, samples_per_iteration=durations.microbatch_size * plan.schedule.microbatches * width
        )
        draws = sampled(workload, compiled, samples, seed, semantics) if samples else None
    return Prediction(
        schedule=plan.schedule,
        profile=profile,
        source=timeline,
        metrics=metrics,
        assumptions=(
            *assumptions(
                durations, microbatch_size, width, bool(workload.messages), sharing_reason(workload),
                samples and not has_jitter(workload),
            ),
            *(f"device {device} computes {factor:g} times as long" for device, factor in slow.items()),
        ),
        microbatch_size=durations.microbatch_size,
        width=width,
        engine="compiled" if compiled else "simpy",
        lower_bound_s=lower_bound_ns(workload) / 1e9,
        peak_activations=peak_activations(plan.schedule),
        partition=tuple(partition) if partition is not None else None,
        weights_copies=weights_copies(plan),
        interval_s=draws.interval_s if draws else None,
        typical=draws.typical if draws else None,
        draws_ns=draws.draws_ns if draws else None,
        slow_devices=slow,
    )


def _lowered(schedule: Schedule, width: int, semantics: Transport) -> Plan:
    """The plan, kept for the last few schedules: studies change costs more often than orders."""
    weight = 3 * sum(map(len, schedule.actions))
    return PLANS.get((schedule, width, semantics), lambda _: _made(schedule, width, semantics), weight=weight)


def _made(schedule: Schedule, width: int, semantics: Transport) -> Plan:
    plan = lower(schedule, width=width)
    return plan if semantics == "buffered" else rendezvous_safe(plan)


def _compiled(workload: Workload, engine: Engine, semantics: Transport) -> CompiledWorkload | None:
    """The compiled engine if it is asked for, or if it is left open and nothing contends."""
    if engine == "compiled" and semantics != "buffered":
        raise InputError("engine 'compiled'", f"cannot answer: messages are {semantics}", "use --engine simpy")
    if engine == "compiled" or (engine == "auto" and semantics == "buffered" and contention(workload) is None):
        return CompiledWorkload(workload)
    return None


def _check(engine: str, semantics: str, samples: int, width: int, microbatch_size: int | None) -> None:
    if engine not in get_args(Engine):
        raise UnknownNameError("engine", engine, get_args(Engine))
    if semantics not in TRANSPORTS:
        raise UnknownNameError("semantics", semantics, TRANSPORTS)
    for name, value, least in (("samples", samples, 0), ("width", width, 1), ("micro-batch size", microbatch_size, 1)):
        if value is not None and value < least:
            raise InputError(f"{name} {value}", f"is less than {least}", f"give {least} or more")
