"""Links under way: which message crosses when, and who is told of its arrival.

Where nothing is shared between pairs of devices, a message's arrival is known the moment it is
sent. Where a NIC or both directions of a link are shared, those that ask at the same moment are
served in an order that does not depend on how devices are numbered: by stage, kind and
micro-batch, all-reduces last.
"""

from __future__ import annotations

__all__ = ["Claim", "Links"]

from collections.abc import Callable, Sequence
from typing import Any

import simpy
from simpy.events import EventPriority

from chimera.simulator.costs.network import Network

Claim = tuple[object, ...]
"""what orders those that ask at the same moment; no two are equal"""
_LAST = EventPriority(3)
"""behind everything else that happens at a moment, all-reduces that start then included"""


class Links:
    """The resources of a network in one simulated iteration, each free from some moment on."""

    def __init__(self, env: simpy.Environment, network: Network) -> None:
        self._env = env
        self.contended = network.contention is not None
        self._free = [0] * network.resource_count
        self._asking: list[tuple[Claim, Sequence[int], int, Callable[[int, int], None]]] = []

    def hold(self, resources: Sequence[int], duration_ns: int, now: int) -> int:
        """Holds all of them as soon as all are free; the end."""
        free, start = self._free, now
        for resource in resources:
            if free[resource] > start:
                start = free[resource]
        end = start + duration_ns
        for resource in resources:
            free[resource] = end
        return end

    def ask(self, claim: Claim, resources: Sequence[int], duration_ns: int, told: Callable[[int, int], None]) -> None:
        """The same once all that ask now are known; `told` gets the start and the end, still at this moment."""
        if not self._asking:
            last = simpy.Event(self._env)
            last._ok, last._value = True, None
            assert last.callbacks is not None
            last.callbacks.append(self._serve)
            self._env.schedule(last, priority=_LAST)
        self._asking.append((claim, resources, duration_ns, told))

    def at(self, moment: int, then: Callable[[], object]) -> None:
        """Calls `then` at a moment to come."""

        def _called(_: Any) -> None:
            then()

        event = self._env.timeout(moment - self._env.now)
        assert event.callbacks is not None
        event.callbacks.append(_called)

    def _serve(self, _: Any) -> None:
        asking, self._asking = sorted(self._asking, key=lambda item: item[0]), []
        now = int(self._env.now)
        for _claim, resources, duration_ns, told in asking:
            end = self.hold(resources, duration_ns, now)
            told(end - duration_ns, end)
