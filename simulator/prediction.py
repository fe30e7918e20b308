"""One configuration predicted: schedule and profile in, timeline and metrics out."""

from __future__ import annotations

__all__ = ["Engine", "Prediction", "simulate"]

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import Any, Literal, get_args

import numpy as np

from pipeline.errors import InputError, UnknownNameError
from pipeline.lowering import lower
from pipeline.metrics import Metrics, measure
from pipeline.repair import rendezvous_safe
from pipeline.replay import Semantics
from pipeline.schedule import Plan, Schedule
from pipeline.timeline import Timeline
from simulator import engine as reference
from simulator.bounds import bound_ns, lower_bound_ns
from simulator.compiled import CompiledWorkload, contention
from simulator.durations import Durations
from simulator.inflight import peak_activations, weights_copies
from simulator.large import run_large
from simulator.memory import memory_events, memory_peak
from simulator.profile import Profile
from simulator.sampling import as_rows, draw, has_jitter
from simulator.sharing import sharing_reason
from simulator.times import Times, timeline_of
from simulator.what_if import check_slow, slowed
from simulator.workload import Workload

Engine = Literal["auto", "simpy", "compiled"]
_LARGE = 20_000
"""computations from which a schedule is worth the way without a plan, where that is possible"""


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one schedule on one profile; `interval_s` is [p5, p50, p95] of iteration_s."""

    schedule: Schedule
    profile: Profile
    source: Timeline | Callable[[], Timeline]
    """the timeline, or what makes it when it is asked for: of a very large schedule it takes longer than all else"""
    metrics: Metrics
    assumptions: tuple[str, ...]
    microbatch_size: int
    width: int
    engine: str
    lower_bound_s: float
    peak_activations: tuple[float, ...]
    weights_copies: tuple[int, ...]
    interval_s: tuple[float, float, float] | None = None
    typical: Timeline | None = None
    """with samples: the drawn iteration whose time is the (lower) median of all"""
    slow_devices: Mapping[int, float] = field(default_factory=dict)
    """devices that were made to compute so many times as long"""

    @cached_property
    def timeline(self) -> Timeline:
        """When everything happens."""
        return self.source() if callable(self.source) else self.source

    def as_json(self) -> dict[str, Any]:
        """The object of `chimera simulate --json`: seconds, bytes, and everything that was assumed."""
        schedule, metrics = self.schedule, self.metrics
        document: dict[str, Any] = {
            "schema_version": 1,
            "schedule": schedule.name,
            "options": dict(schedule.options),
            "stages": schedule.stages,
            "devices": schedule.devices,
            "microbatches": schedule.microbatches,
            "width": self.width,
            "microbatch_size": self.microbatch_size,
            "engine": self.engine,
            "pipeline_s": metrics.pipeline_ns / 1e9,
            "iteration_s": metrics.iteration_ns / 1e9,
            "ideal_s": metrics.ideal_ns / 1e9,
            "lower_bound_s": self.lower_bound_s,
            "bubble_ratio": metrics.bubble_ratio,
            "bubble_over_ideal": metrics.bubble_over_ideal,
            "bubble_longest_stage": metrics.bubble_longest_stage,
            "throughput_samples_per_s": metrics.throughput_samples_per_s,
            "utilisation": metrics.utilisation,
            "per_device": [self._device_json(device) for device in range(schedule.devices)],
            "assumptions": list(self.assumptions),
            "profile": {"name": self.profile.name, **self.profile.provenance},
        }
        if self.interval_s is not None:
            document["interval_s"] = list(self.interval_s)
        return document

    def _device_json(self, device: int) -> dict[str, Any]:
        figures, activations = self.metrics.per_device[device], self.peak_activations[device]
        return {
            "device": device,
            "busy_s": figures.busy_ns / 1e9,
            "idle_s": figures.idle_ns / 1e9,
            "peak_activations": int(activations) if activations.is_integer() else activations,
            "peak_memory_bytes": figures.peak_memory_bytes,
            "weights_copies": self.weights_copies[device],
        }


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
    semantics: Semantics = "buffered",
    slow_devices: Mapping[int, float] | None = None,
) -> Prediction:
    """Predicts one iteration of a schedule (or of a plan, taken literally) on a machine.

    `width` data-parallel copies of the pipeline run alike and share the all-reduces. With
    `samples` > 0, durations are drawn that often from the profile's distribution and
    `interval_s` holds the 5th, 50th and 95th percentile of the iteration time. `semantics` says
    what a transport makes wait (`pipeline.deadlock`); a schedule is lowered so that it is safe. With
    `slow_devices`, device d computes that many times as long as the profile says.

    Raises DeadlockError for a plan that cannot finish, InputError for costs that do not fit.
    """
    _check(engine, semantics, samples, width, microbatch_size)
    slow = dict(slow_devices or {})
    check_slow(slow, (schedule.schedule if isinstance(schedule, Plan) else schedule).devices)
    if isinstance(schedule, Schedule) and not slow and engine != "simpy" and semantics == "buffered" and not samples:
        with _collector_paused():
            large = _large(schedule, profile, microbatch_size, width, partition)
        if large is not None:
            return large
    with _collector_paused():
        plan = schedule if isinstance(schedule, Plan) else _lowered(schedule, width, semantics)
        durations = Durations(plan.schedule, profile, microbatch_size, partition)
        workload = Workload(plan, profile, durations, width)
        if slow:
            workload.work_ns = slowed(workload, slow)
        compiled = _compiled(workload, engine, semantics)
        times = compiled.times() if compiled else reference.run(workload, None, semantics)
        timeline = _timeline(workload, times)
        metrics = measure(
            timeline, samples_per_iteration=durations.microbatch_size * plan.schedule.microbatches * width
        )
        interval, typical = _sampled(workload, compiled, samples, seed, semantics) if samples else (None, None)
    return Prediction(
        schedule=plan.schedule,
        profile=profile,
        source=timeline,
        metrics=metrics,
        assumptions=(
            *_assumptions(
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
        weights_copies=weights_copies(plan),
        interval_s=interval,
        typical=typical,
        slow_devices=slow,
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Nothing made here is garbage, so looking for it would only take time (a third of it when large)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _lowered(schedule: Schedule, width: int, semantics: Semantics) -> Plan:
    plan = lower(schedule, width=width)
    return plan if semantics == "buffered" else rendezvous_safe(plan)


def _compiled(workload: Workload, engine: Engine, semantics: Semantics) -> CompiledWorkload | None:
    """The compiled engine if it is asked for, or if it is left open and nothing contends."""
    if engine == "compiled" and semantics != "buffered":
        raise InputError("engine 'compiled'", f"cannot answer: messages are {semantics}", "use --engine simpy")
    if engine == "compiled" or (engine == "auto" and semantics == "buffered" and contention(workload) is None):
        return CompiledWorkload(workload)
    return None


def _timeline(workload: Workload, times: Times) -> Timeline:
    rows = memory_events(workload, times) if _has_sizes(workload.profile) else ()
    peaks = tuple(memory_peak(row).total_bytes for row in rows)
    return timeline_of(workload, times, tuple(chain.from_iterable(rows)), peaks)


def _check(engine: str, semantics: str, samples: int, width: int, microbatch_size: int | None) -> None:
    if engine not in get_args(Engine):
        raise UnknownNameError("engine", engine, get_args(Engine))
    if semantics not in get_args(Semantics):
        raise UnknownNameError("semantics", semantics, get_args(Semantics))
    for name, value, least in (("samples", samples, 0), ("width", width, 1), ("micro-batch size", microbatch_size, 1)):
        if value is not None and value < least:
            raise InputError(f"{name} {value}", f"is less than {least}", f"give {least} or more")


def _has_sizes(profile: Profile) -> bool:
    """Whether the profile knows any bytes at all."""
    return bool(profile.framework_bytes) or any(
        layer.parameter_bytes or any(cost.activation_bytes or cost.boundary_bytes for cost in layer.costs)
        for layer in profile.layers
    )


def _sampled(
    workload: Workload, compiled: CompiledWorkload | None, samples: int, seed: int, semantics: Semantics
) -> tuple[tuple[float, float, float], Timeline]:
    """Percentiles 5, 50 and 95 of the iteration time over drawn durations, in seconds; the median draw."""
    ends: list[int] = []
    for batch in draw(workload, samples, seed):
        if compiled:
            ends += compiled.iteration_ns(batch).tolist()
        else:
            ends += [reference.run(workload, as_rows(workload, drawn), semantics).end_ns for drawn in batch]
    low, middle, high = np.percentile(ends, [5, 50, 95]) / 1e9
    wanted = int(np.argsort(ends, kind="stable")[(samples - 1) // 2])
    # Drawn again rather than kept: thousands of draws of a large schedule would not fit into memory.
    drawn = next(islice(chain.from_iterable(draw(workload, samples, seed)), wanted, None))
    times = reference.run(workload, as_rows(workload, drawn), semantics)
    return (float(low), float(middle), float(high)), _timeline(workload, times)


def _assumptions(
    durations: Durations, microbatch_size: int | None, width: int, sends: bool, sharing: str | None, equal: object
) -> tuple[str, ...]:
    """Everything the reader must know to judge the figures."""
    profile, schedule = durations.profile, durations.schedule
    found = list(durations.assumptions())
    if microbatch_size is None:
        found.append(f"micro-batch size {durations.microbatch_size}: none was given")
    if not _has_sizes(profile):
        found.append("memory and message sizes are not predicted: the profile holds no sizes")
    if sends and not profile.links:
        found.append("messages are free: the profile holds no links")
    if schedule.update != "flush":
        found.append("fill and drain are included: without a flush, iterations would overlap")
    if width > 1:
        found.append("all copies of the pipeline run alike")
    if sharing:
        found.append(f"work slows other work down: {sharing}")
    if equal:
        found.append("all samples are equal: the profile holds no spread")
    return tuple(found)


def _large(
    schedule: Schedule, profile: Profile, microbatch_size: int | None, width: int, partition: Sequence[int] | None
) -> Prediction | None:
    """The prediction of a very large schedule on a profile without sizes; its timeline is made when asked for."""
    if sum(map(len, schedule.actions)) < _LARGE or _has_sizes(profile):
        return None
    durations = Durations(schedule, profile, microbatch_size, partition)
    run = run_large(durations, width)
    if run is None:
        return None

    def timeline() -> Timeline:
        with _collector_paused():
            workload = Workload(lower(schedule, width=width), profile, durations, width)
            return timeline_of(workload, CompiledWorkload(workload).times())

    return Prediction(
        schedule=schedule,
        profile=profile,
        source=timeline,
        metrics=run.metrics(durations.microbatch_size * schedule.microbatches * width),
        assumptions=_assumptions(durations, microbatch_size, width, run.sends, None, False),
        microbatch_size=durations.microbatch_size,
        width=width,
        engine="compiled",
        lower_bound_s=bound_ns(durations, run.pieces(), schedule.devices) / 1e9,
        peak_activations=run.peak_activations(),
        weights_copies=tuple(len(schedule.held_by(device)) for device in range(schedule.devices)),
    )
