"""Work that slows other work down: devices that share cores, all-reduces that run beside computation.

A job (a computation, an all-reduce) has work, the nanoseconds it takes alone, and proceeds at a
rate that changes when other jobs start or end. Computations on n devices of a host with c cores
proceed at min(1, c/n) each (processor sharing); a computation on a device that takes part in an
all-reduce is slower by `compute_slowdown`, an all-reduce of which some member computes by
`reduce_slowdown`. Remaining work is kept as an exact fraction, and a job ends at the first whole
nanosecond at which none is left.
"""

from __future__ import annotations

__all__ = ["Sharing"]

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import simpy

from chimera.pipeline.grid import node_of
from chimera.simulator.workload.workload import Workload


@dataclass(slots=True)
class _Job:
    """Work under way; `generation` tells the latest end that was planned from outdated ones."""

    devices: tuple[int, ...]
    remaining: Fraction
    done: simpy.Event
    since: int
    rate: Fraction = Fraction(0)
    generation: int = 0


class Sharing:
    """The jobs under way in one simulated iteration."""

    def __init__(self, env: simpy.Environment, workload: Workload) -> None:
        profile = workload.profile
        self._env = env
        self._computing: dict[int, _Job] = {}
        self._reducing: list[_Job] = []
        self._cores = profile.cores
        self._node = profile.topology.devices_per_node
        self._copies = workload.width if self._node is None else 1
        self._compute_rate = 1 / Fraction(profile.all_reduce.compute_slowdown).limit_denominator(10**6)
        self._reduce_rate = 1 / Fraction(profile.all_reduce.reduce_slowdown).limit_denominator(10**6)

    def compute(self, device: int, work_ns: int) -> simpy.Event:
        """Starts a computation now; the event fires at its end."""
        job = _Job((device,), Fraction(work_ns), self._env.event(), int(self._env.now))
        self._computing[device] = job
        self._adjust()
        return job.done

    def reduce(self, members: tuple[int, ...], work_ns: int) -> simpy.Event:
        """Starts an all-reduce now; the event fires at its end."""
        job = _Job(members, Fraction(work_ns), self._env.event(), int(self._env.now))
        self._reducing.append(job)
        self._adjust()
        return job.done

    def _adjust(self) -> None:
        """Gives every job the rate it has from now on, and plans its end anew if that changed."""
        reducing = {device for job in self._reducing for device in job.devices}
        busy: dict[int, int] = {}
        for device in self._computing:
            host = node_of(device, self._node)
            busy[host] = busy.get(host, 0) + self._copies
        for device, job in self._computing.items():
            share = Fraction(1)
            if self._cores is not None:
                share = min(share, Fraction(self._cores, busy[node_of(device, self._node)]))
            self._set_rate(job, share * self._compute_rate if device in reducing else share)
        for job in self._reducing:
            computing = any(device in self._computing for device in job.devices)
            self._set_rate(job, self._reduce_rate if computing else Fraction(1))

    def _set_rate(self, job: _Job, rate: Fraction) -> None:
        if rate == job.rate:
            return
        now = int(self._env.now)
        job.remaining -= job.rate * (now - job.since)
        job.since, job.rate = now, rate
        job.generation += 1
        generation = job.generation
        end = self._env.timeout(max(ceil(job.remaining / rate), 0))
        assert end.callbacks is not None
        end.callbacks.append(lambda _: self._finish(job, generation))

    def _finish(self, job: _Job, generation: int) -> None:
        if generation != job.generation:
            return
        job.generation += 1
        if self._computing.get(job.devices[0]) is job:
            del self._computing[job.devices[0]]
        else:
            self._reducing = [other for other in self._reducing if other is not job]
        job.done.succeed()
        self._adjust()
