"""All-reduces under way: each starts when its last member has launched it and all members are free for it."""

from __future__ import annotations

__all__ = ["AllReduces"]

from collections.abc import Generator
from typing import Any

import simpy
from simpy.events import EventPriority

from chimera.simulator.engines.direct.links import Links
from chimera.simulator.engines.direct.sharing import Sharing
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.workload import Workload

_LATE = EventPriority(2)
"""behind what devices do at a moment, and before links serve those that ask then"""


class AllReduces:
    """The collectives of one simulated iteration; a device takes part in one at a time.

    Among those that all members have launched, the first to become so starts first (of equals: by stage); with
    `in_order` every device serves them in the order it launched them (blocking transports).
    """

    def __init__(
        self,
        env: simpy.Environment,
        workload: Workload,
        times: Times,
        sharing: Sharing | None,
        links: Links,
        *,
        in_order: bool,
    ) -> None:
        self._env, self._workload, self._times, self._sharing = env, workload, times, sharing
        self._links = links
        self._in_order = in_order
        self.launched = [0] * len(workload.collectives)
        self.finished = {number: env.event() for number in range(len(workload.collectives))}
        self._ready: list[tuple[int, int, int]] = []
        self._starting = False
        self._reducing = [False] * len(workload.ops)
        self._queues: list[list[int]] = [[] for _ in workload.ops]

    def launch(self, device: int, number: int) -> None:
        """One member has launched an all-reduce; the last one makes it ready."""
        self.launched[number] += 1
        self._queues[device].append(number)
        if self.launched[number] == len(self._workload.collectives[number].members):
            self._ready.append((int(self._env.now), self._workload.collectives[number].action.stage, number))
            self._start_later()

    def _start_later(self) -> None:
        """At the end of this moment, when all that become ready or free now are known."""
        if not self._starting and self._ready:
            self._starting = True
            late = simpy.Event(self._env)
            late._ok, late._value = True, None
            assert late.callbacks is not None
            late.callbacks.append(self._start_ready)
            self._env.schedule(late, priority=_LATE)

    def _start_ready(self, _: simpy.Event) -> None:
        self._starting = False
        for entry in sorted(self._ready):
            number = entry[-1]
            members = self._workload.collectives[number].members
            if any(self._occupied(member, number) for member in members):
                continue
            self._ready.remove(entry)
            for member in members:
                self._reducing[member] = True
            self._env.process(self._reduce(number, members))

    def _occupied(self, member: int, number: int) -> bool:
        return self._reducing[member] or (self._in_order and self._queues[member][0] != number)

    def _reduce(self, number: int, members: tuple[int, ...]) -> Generator[simpy.Event, Any, None]:
        _, _, duration, resources, rounds = self._workload.collectives[number]
        start = int(self._env.now)
        if resources:
            for turn in range(rounds):
                work = duration * (turn + 1) // rounds - duration * turn // rounds
                yield self._granted(number, turn, work)
                yield self._worked(members, work)
        else:
            yield self._worked(members, duration)
        self._times.reduces[number] = (start, int(self._env.now))
        for member in members:
            self._reducing[member] = False
            self._queues[member].remove(number)
        self.finished[number].succeed()
        self._start_later()

    def _worked(self, members: tuple[int, ...], work: int) -> simpy.Event:
        return self._env.timeout(work) if self._sharing is None else self._sharing.reduce(members, work)

    def _granted(self, number: int, turn: int, work: int) -> simpy.Event:
        """The NICs are free for one exchange, behind the messages and exchanges that asked before."""
        granted = simpy.Event(self._env)

        def _told(start: int, _end: int) -> None:
            self._links.at(start, granted.succeed)

        collective = self._workload.collectives[number]
        claim = (1, collective.action.stage, number, turn)
        self._links.ask(claim, collective.resources, work, _told)
        return granted
