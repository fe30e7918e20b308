"""One configuration predicted: schedule and profile in, timeline and metrics out."""

from __future__ import annotations

__all__ = ["simulate"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from chimera.pipeline.errors import DeadlockError, InputError
from chimera.pipeline.inflight import peak_activations, weights_copies
from chimera.pipeline.lowering.lower import Receives
from chimera.pipeline.schedule import Plan, Schedule
from chimera.simulator.costs.profile import Profile
from chimera.simulator.draws.intervals import sampled
from chimera.simulator.draws.sampling import has_jitter
from chimera.simulator.engines.choice import Engine, check_engine, compiled_if, engine_for
from chimera.simulator.engines.direct import engine as reference
from chimera.simulator.engines.direct.engine import Transport
from chimera.simulator.engines.direct.sharing import sharing_reason
from chimera.simulator.engines.large import large_prediction
from chimera.simulator.predicting.assumptions import assumptions
from chimera.simulator.predicting.collector import collector_paused
from chimera.simulator.predicting.conditions import Conditions, check, unrolled_workload, workload_under
from chimera.simulator.predicting.predicted_timeline import predicted_timeline
from chimera.simulator.predicting.prediction import Prediction
from chimera.simulator.predicting.steady_state import SteadyState, iterations_for, steady_state
from chimera.simulator.reasons.bounds import lower_bound_ns
from chimera.simulator.workload.workload import Workload


def simulate(
    schedule: Schedule | Plan,
    profile: Profile,
    *,
    microbatch_size: int | None = None,
    width: int = 1,
    engine: Engine | None = None,
    samples: int = 0,
    seed: int = 0,
    partition: Sequence[int] | None = None,
    semantics: Transport = "buffered",
    receives: Receives = "early",
    slow_devices: Mapping[int, float] | None = None,
) -> Prediction:
    """Predicts one iteration of a schedule (or of a plan, taken literally) on a machine.

    `chimera.simulator.predicting.conditions` says what sizes, copies, transports and slow devices mean, `chimera.simulator.engines.choice`
    which engine answers where none is named. With `samples` > 0, durations are drawn that often from
    the profile's distribution and `interval_s` holds the 5th, 50th and 95th percentile of the
    iteration time.

    Raises DeadlockError for a plan that cannot finish, InputError for costs that do not fit.
    """
    layers = None if partition is None else tuple(partition)
    conditions = Conditions(microbatch_size, width, layers, semantics, receives, dict(slow_devices or {}))
    check(conditions, profile, schedule.schedule if isinstance(schedule, Plan) else schedule)
    check_engine(engine)
    _check_draws(samples, seed)
    engine = engine or engine_for(schedule)
    with collector_paused():
        found = None
        if isinstance(schedule, Schedule) and engine != "simpy" and not samples:
            found = large_prediction(schedule, profile, conditions)
        if found is None:
            found = _prediction(workload_under(schedule, profile, conditions), conditions, engine, samples, seed)
    if isinstance(schedule, Plan):
        return replace(found, plan=schedule)
    if schedule.update == "flush":
        return found
    return replace(found, overlapping=partial(_steady_state, schedule, profile, conditions, engine))


def _check_draws(samples: int, seed: int) -> None:
    for name, value in (("samples", samples), ("seed", seed)):
        if value < 0:
            raise InputError(f"{name} {value}", "is less than 0", "give 0 or more")


def _prediction(workload: Workload, conditions: Conditions, engine: Engine, samples: int, seed: int) -> Prediction:
    """What the engine and the draws say."""
    plan, durations, semantics = workload.plan, workload.durations, conditions.semantics
    compiled = compiled_if(workload, engine, semantics)
    found = predicted_timeline(workload, compiled.times() if compiled else reference.run(workload, None, semantics))
    per_iteration = durations.microbatch_size * plan.schedule.microbatches * conditions.width
    draws = sampled(workload, compiled, samples, seed, semantics) if samples else None
    return Prediction(
        schedule=plan.schedule,
        profile=workload.profile,
        source=found,
        metrics=found.metrics(per_iteration),
        assumptions=_assumptions(workload, conditions, samples),
        conditions=conditions,
        microbatch_size=durations.microbatch_size,
        engine="compiled" if compiled else "simpy",
        lower_bound_s=lower_bound_ns(workload, conditions.slow_devices) / 1e9,
        peak_activations=peak_activations(plan.schedule),
        weights_copies=weights_copies(plan),
        interval_s=draws.interval_s if draws else None,
        typical=draws.typical if draws else None,
        draws_ns=draws.draws_ns if draws else None,
    )


def _steady_state(schedule: Schedule, profile: Profile, conditions: Conditions, engine: Engine) -> SteadyState | None:
    """Of iterations back to back, of the median durations; None if devices then wait for one another.

    That can be in orders of one's own with several replicas, whose all-reduces hold up other iterations.
    """
    count = iterations_for(schedule)
    with collector_paused():
        try:
            workload = unrolled_workload(schedule, count, profile, conditions)
            compiled = compiled_if(workload, engine, conditions.semantics)
            times = compiled.times() if compiled else reference.run(workload, None, conditions.semantics)
        except DeadlockError:
            return None
    samples = workload.durations.microbatch_size * schedule.microbatches * conditions.width
    return steady_state(workload, times, count, samples)


def _assumptions(workload: Workload, conditions: Conditions, samples: int) -> tuple[str, ...]:
    equal = samples and not has_jitter(workload)
    free, sharing = _free_messages(workload), sharing_reason(workload)
    found = assumptions(workload.durations, conditions.microbatch_size, conditions.width, free, sharing, equal)
    slow = (f"device {device} computes {factor:g} times as long" for device, factor in conditions.slow_devices.items())
    return (*found, *slow)


def _free_messages(workload: Workload) -> bool:
    """Whether messages cross devices and no host or link takes time for any."""
    kinds = workload.message_kinds
    costs = [kind.occupancy_ns or kind.send_overhead_ns or kind.receive_overhead_ns for kind in kinds]
    return bool(costs) and not any(costs)
