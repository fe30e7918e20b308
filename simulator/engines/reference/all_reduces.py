"""All-reduces: each starts when its last member has launched it and all members are free for it."""

from __future__ import annotations

__all__ = ["AllReduces"]

from collections.abc import Generator
from typing import Any

import simpy

from chimera.simulator.engines.reference.links import Links
from chimera.simulator.engines.reference.moment import Moment
from chimera.simulator.engines.reference.sharing import Sharing
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.workload import Workload


class AllReduces:
    """The all-reduces of one iteration; a device takes part in one at a time.

    Of those that all members have launched, the one that became so first starts first (of equals: by stage); with
    `in_order` every device serves them in the order in which it launched them (blocking transports).
    """

    def __init__(
        self,
        env: simpy.Environment,
        workload: Workload,
        times: Times,
        links: Links,
        moment: Moment,
        sharing: Sharing | None,
        *,
        in_order: bool,
    ) -> None:
        self._env, self._collectives, self._times = env, workload.collectives, times
        self._links, self._moment, self._sharing, self._in_order = links, moment, sharing, in_order
        self.launched = [0] * len(workload.collectives)
        self.finished = [env.event() for _ in workload.collectives]
        self._ready: list[tuple[int, int, int]] = []
        self._busy: set[int] = set()
        self._queues: list[list[int]] = [[] for _ in workload.ops]

    def launch(self, device: int, number: int) -> None:
        """One member has launched an all-reduce; the last one makes it ready."""
        self.launched[number] += 1
        self._queues[device].append(number)
        collective = self._collectives[number]
        if self.launched[number] == len(collective.members):
            self._ready.append((int(self._env.now), collective.action.stage, number))
            self._moment.at_its_end(0, self._start)

    def _start(self) -> None:
        for entry in sorted(self._ready):
            number = entry[-1]
            members = self._collectives[number].members
            if not any(self._occupied(member, number) for member in members):
                self._ready.remove(entry)
                self._busy.update(members)
                self._env.process(self._reduce(number))

    def _occupied(self, member: int, number: int) -> bool:
        return member in self._busy or (self._in_order and self._queues[member][0] != number)

    def _reduce(self, number: int) -> Generator[simpy.Event, Any, None]:
        collective, start = self._collectives[number], int(self._env.now)
        if collective.resources:
            yield from self._exchanges(number)
        else:
            yield self._worked(collective.members, collective.duration_ns)
        self._times.reduces[number] = (start, int(self._env.now))
        self._busy.difference_update(collective.members)
        for member in collective.members:
            self._queues[member].remove(number)
        self.finished[number].succeed()
        self._moment.at_its_end(0, self._start)

    def _exchanges(self, number: int) -> Generator[simpy.Event, Any, None]:
        """One after another, behind the messages and exchanges that asked for the NICs before."""
        action, members, duration, resources, rounds = self._collectives[number]
        for turn in range(rounds):
            work = duration * (turn + 1) // rounds - duration * turn // rounds
            started = self._env.event()
            self._env.process(self._links.cross((1, action.stage, number, turn), resources, work, started))
            yield started
            yield self._worked(members, work)

    def _worked(self, members: tuple[int, ...], work_ns: int) -> simpy.Event:
        return self._env.timeout(work_ns) if self._sharing is None else self._sharing.reduce(members, work_ns)
