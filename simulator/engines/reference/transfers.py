"""Messages: who must stand at which end before one crosses, and when it has arrived."""

from __future__ import annotations

__all__ = ["Transfers"]

from collections.abc import Generator
from typing import Any

import simpy

from chimera.simulator.engines.exchanges import Transport
from chimera.simulator.engines.reference.links import Links
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.workload import SEND, Op, Workload


class Transfers:
    """The messages of one iteration; `arrived[number]` happens when one is there.

    A buffered message crosses when it is sent. On other transports both ends must have posted it; on streams it
    must also stand first on both devices' streams, and holds them until it has arrived.
    """

    def __init__(
        self, env: simpy.Environment, workload: Workload, times: Times, links: Links, semantics: Transport
    ) -> None:
        self._env, self._messages, self._times, self._links = env, workload.messages, times, links
        self.arrived = [env.event() for _ in workload.messages]
        self._buffered, self._streaming = semantics == "buffered", semantics == "stream"
        self._posted = [0] * len(workload.messages)
        self._streams = [simpy.Resource(env) for _ in workload.ops]
        self._requests: list[list[tuple[int, Any]]] = [[] for _ in workload.messages]
        self._message_of: dict[Any, int] = {}

    def post(self, op: Op) -> None:
        """A device sends a message, or expects it."""
        number, now = op.target, int(self._env.now)
        message = self._messages[number]
        sends = op.code == SEND
        (self._times.sent if sends else self._times.posted)[number] = now
        self._posted[number] += 1
        if self._streaming:
            self._queue(message.source if sends else message.target, number)
        if sends if self._buffered else self._posted[number] == 2:
            self._env.process(self._cross(number))

    def head(self, device: int) -> int | None:
        """The message that holds up a device's stream, if any."""
        users = self._streams[device].users
        return self._message_of[users[0]] if users else None

    def _queue(self, device: int, number: int) -> None:
        request = self._streams[device].request()
        self._requests[number].append((device, request))
        self._message_of[request] = number

    def _cross(self, number: int) -> Generator[simpy.Event, Any, None]:
        message, ends = self._messages[number], self._requests[number]
        yield self._env.all_of([request for _, request in ends])
        yield from self._links.cross((0, *message.receive), message.resources, message.occupancy_ns)
        for device, request in ends:
            self._streams[device].release(request)
        self._times.arrived[number] = int(self._env.now)
        self.arrived[number].succeed()
