"""Work that slows other work down: devices that share cores, all-reduces that run beside computation.

A job has work, the nanoseconds that it takes alone, and proceeds at a rate that changes when other jobs begin or end:
`chimera.simulator.engines.direct.sharing` has the rates. What is left of it is an exact fraction, and it ends
at the first whole nanosecond at which nothing is left.
"""

from __future__ import annotations

__all__ = ["Sharing"]

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import simpy

from chimera.simulator.workload.workload import Workload


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    devices: tuple[int, ...]
    computes: bool


class Sharing:
    """The jobs under way."""

    def __init__(self, env: simpy.Environment, workload: Workload) -> None:
        profile = workload.profile
        self._env = env
        self._jobs: list[_Job] = []
        self._changed = env.event()
        self._cores = profile.cores
        self._node = profile.topology.devices_per_node
        self._copies = workload.width if self._node is None else 1
        self._beside_reduce = 1 / Fraction(profile.all_reduce.compute_slowdown).limit_denominator(10**6)
        self._beside_compute = 1 / Fraction(profile.all_reduce.reduce_slowdown).limit_denominator(10**6)

    def compute(self, device: int, work_ns: int) -> simpy.Event:
        """Starts a computation now; the event happens at its end."""
        return self._env.process(self._proceed(_Job((device,), computes=True), Fraction(work_ns)))

    def reduce(self, members: tuple[int, ...], work_ns: int) -> simpy.Event:
        """Starts an all-reduce now; the event happens at its end."""
        return self._env.process(self._proceed(_Job(members, computes=False), Fraction(work_ns)))

    def _proceed(self, job: _Job, left: Fraction) -> Generator[simpy.Event, Any, None]:
        self._jobs.append(job)
        self._change()
        while left > 0:
            rate, since = self._rate(job), int(self._env.now)
            yield self._env.any_of([self._env.timeout(ceil(left / rate)), self._changed])
            left -= rate * (int(self._env.now) - since)
        self._jobs.remove(job)
        self._change()

    def _change(self) -> None:
        """Every job under way looks at its rate again."""
        changed, self._changed = self._changed, self._env.event()
        changed.succeed()

    def _rate(self, job: _Job) -> Fraction:
        if not job.computes:
            beside = any(other.computes and other.devices[0] in job.devices for other in self._jobs)
            return self._beside_compute if beside else Fraction(1)
        (device,) = job.devices
        reduces = any(not other.computes and device in other.devices for other in self._jobs)
        return self._share(device) * (self._beside_reduce if reduces else 1)

    def _share(self, device: int) -> Fraction:
        """Of a core: the cores of a host go round among the devices that compute."""
        if self._cores is None:
            return Fraction(1)
        host = self._host(device)
        busy = sum(other.computes and self._host(other.devices[0]) == host for other in self._jobs)
        return min(Fraction(1), Fraction(self._cores, busy * self._copies))

    def _host(self, device: int) -> int:
        return 0 if self._node is None else device // self._node
