"""Links and NICs: SimPy resources that serve whoever asked first, and hold what crosses them."""

from __future__ import annotations

__all__ = ["Links"]

from collections.abc import Generator, Sequence
from typing import Any

import simpy

from chimera.simulator.costs.network import Network
from chimera.simulator.engines.reference.moment import Moment


class Links:
    """The resources of a network. Who asks for several takes them together, as soon as all are free.

    Where messages of different pairs or directions contend, those that ask at one moment are served in the
    order of their claims, which does not depend on how devices are numbered.
    """

    def __init__(self, env: simpy.Environment, network: Network, moment: Moment) -> None:
        self._env, self._moment = env, moment
        self._contended = network.contention is not None
        self._resources = [simpy.Resource(env) for _ in range(network.resource_count)]
        self._asking: list[tuple[tuple[object, ...], simpy.Event]] = []

    def cross(
        self, claim: tuple[object, ...], numbers: Sequence[int], duration_ns: int, started: simpy.Event | None = None
    ) -> Generator[simpy.Event, Any, None]:
        """Holds these resources for a time; `started` happens when that begins."""
        if numbers and self._contended:
            yield self._turn_of(claim)
        requests = [self._resources[number].request() for number in numbers]
        yield self._env.all_of(requests)
        if started is not None:
            started.succeed()
        yield self._env.timeout(duration_ns)
        for number, request in zip(numbers, requests, strict=True):
            self._resources[number].release(request)

    def _turn_of(self, claim: tuple[object, ...]) -> simpy.Event:
        turn = self._env.event()
        self._asking.append((claim, turn))
        self._moment.at_its_end(1, self._serve)
        return turn

    def _serve(self) -> None:
        asking, self._asking = sorted(self._asking, key=lambda item: item[0]), []
        for _, turn in asking:
            turn.succeed()
