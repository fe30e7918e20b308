"""One configuration predicted: schedule and profile in, timeline and metrics out."""

from __future__ import annotations

__all__ = ["simulate"]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from chimera.pipeline.errors import DeadlockError, InputError
from chimera.pipeline.inflight import peak_activations, weights_copies
from chimera.pipeline.lowering.lower import Receives
from chimera.pipeline.schedule import Plan, Schedule, require_schedule
from chimera.simulator.costs.profile import Profile
from chimera.simulator.draws.intervals import sampled
from chimera.simulator.draws.sampling import has_jitter
from chimera.simulator.engines.choice import Engine, compiled_if, engine_for, interpreter
from chimera.simulator.engines.exchanges import Transport
from chimera.simulator.predicting.assumptions import assumptions
from chimera.simulator.predicting.conditions import PLAIN, Conditions, fitted, unrolled_workload, workload_under
from chimera.simulator.predicting.large import large_prediction
from chimera.simulator.predicting.predicted_timeline import predicted_timeline
from chimera.simulator.predicting.prediction import Prediction
from chimera.simulator.predicting.steady_state import SteadyState, iterations_for, steady_state
from chimera.simulator.reasons.bounds import lower_bound_ns
from chimera.simulator.workload.collector import collector_paused
from chimera.simulator.workload.sharing import sharing_reason
from chimera.simulator.workload.workload import Workload


def simulate(
    schedule: Schedule | Plan,
    profile: Profile,
    conditions: Conditions | None = None,
    *,
    microbatch_size: int | None = None,
    width: int | None = None,
    engine: Engine | None = None,
    samples: int | None = None,
    seed: int | None = None,
    partition: Sequence[int] | str | None = None,
    semantics: Transport | None = None,
    receives: Receives | None = None,
    slow_devices: Mapping[int, float] | None = None,
) -> Prediction:
    """Predicts one iteration of a schedule (or of a plan, taken literally) on a machine.

    `chimera.simulator.predicting.conditions` says what is asked: sizes, copies, transports, slow devices. A keyword
    replaces that field of `conditions`. `chimera.simulator.engines.choice` says which engine answers where none is
    named. With `samples` > 0, durations are drawn that often from the profile's distribution and
    `interval_s` holds the 5th, 50th and 95th percentile of the iteration time.

    Raises DeadlockError for a plan that cannot finish, InputError for costs that do not fit.
    """
    require_schedule(schedule)
    asked = _asked(
        conditions,
        microbatch_size=microbatch_size,
        width=width,
        engine=engine,
        samples=samples,
        seed=seed,
        partition=partition if partition is None or isinstance(partition, str) else tuple(partition),
        semantics=semantics,
        receives=receives,
        slow_devices=None if slow_devices is None else dict(slow_devices),
    )
    asked = fitted(asked, profile, schedule.schedule if isinstance(schedule, Plan) else schedule)
    answering = asked.engine or engine_for(schedule)
    with collector_paused():
        prediction = None
        if isinstance(schedule, Schedule) and answering != "simpy" and not asked.samples:
            prediction = large_prediction(schedule, profile, asked)
        if prediction is None:
            prediction = _prediction(workload_under(schedule, profile, asked), asked, answering)
    if isinstance(schedule, Plan):
        return replace(prediction, plan=schedule)
    if schedule.update == "flush":
        return prediction
    return replace(prediction, overlapping=partial(_steady_state, schedule, profile, asked, answering))


def _asked(conditions: Conditions | None, **changes: Any) -> Conditions:
    """The conditions with what was given beside them."""
    if not isinstance(conditions, Conditions | None):
        given = f"conditions of type {type(conditions).__name__}"
        raise InputError(given, "are no Conditions", "give Conditions(width=2), or the keyword width=2")
    return replace(conditions or PLAIN, **{name: value for name, value in changes.items() if value is not None})


def _prediction(workload: Workload, conditions: Conditions, engine: Engine) -> Prediction:
    """What the engine and the draws say."""
    plan, durations, semantics = workload.plan, workload.durations, conditions.semantics
    compiled = compiled_if(workload, engine, semantics)
    interpret = interpreter(conditions.engine)
    found = predicted_timeline(workload, compiled.times() if compiled else interpret(workload, None, semantics))
    per_iteration = durations.microbatch_size * plan.schedule.microbatches * conditions.width
    draws = sampled(workload, compiled or interpret, conditions.samples, conditions.seed, semantics)
    return Prediction(
        schedule=plan.schedule,
        profile=workload.profile,
        source=found,
        metrics=found.metrics(per_iteration),
        assumptions=_assumptions(workload, conditions),
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
            interpret = interpreter(conditions.engine)
            times = compiled.times() if compiled else interpret(workload, None, conditions.semantics)
        except DeadlockError:
            return None
    samples = workload.durations.microbatch_size * schedule.microbatches * conditions.width
    return steady_state(workload, times, count, samples)


def _assumptions(workload: Workload, conditions: Conditions) -> tuple[str, ...]:
    equal = conditions.samples and not has_jitter(workload)
    free, sharing = _free_messages(workload), sharing_reason(workload)
    found = assumptions(workload.durations, conditions.microbatch_size, conditions.width, free, sharing, equal)
    slow = (f"device {device} computes {factor:g} times as long" for device, factor in conditions.slow_devices.items())
    return (*found, *slow)


def _free_messages(workload: Workload) -> bool:
    """Whether messages cross devices and no host or link takes time for any."""
    kinds = workload.message_kinds
    costs = [kind.occupancy_ns or kind.send_overhead_ns or kind.receive_overhead_ns for kind in kinds]
    return bool(costs) and not any(costs)
