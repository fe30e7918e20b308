"""What a device's computations take and give back: activations, workspace, gradients, old versions of weights.

A forward stores its activations from its start (with recomputation only its input) until the
backward that uses them ends: B, or W where the backward is split; half of them each for half
backwards. A recomputing backward holds the whole activations while it runs, or from I to W. An
action's workspace lives while it runs. With update="pipedream" a step leaves the old weights behind
for the micro-batches that used them, until the last of those has finished its backward.
"""

from __future__ import annotations

__all__ = ["Backward", "Footprints", "Forward"]

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.inflight import WeightVersions
from chimera.pipeline.schedule import Schedule
from chimera.simulator.costs.durations import Durations, share_of

# Looking a member up in its class costs several times as much as a module's name.
_F, _I, _W = Kind.F, Kind.I, Kind.W


class Forward(NamedTuple):
    """Bytes of a forward: what it stores from its start, and what it holds while it runs."""

    stored: int
    workspace: int


class Backward(NamedTuple):
    """Bytes of a backward: held while it runs, taken at its start, given back at its end."""

    workspace: int
    recomputed: int = 0
    """activations that it computes again at its start"""
    gradients: int = 0
    """taken with the first one, where gradients do not persist"""
    released: int = 0
    """of what the forward stored"""
    forgotten: int = 0
    """of what was computed again"""
    version: int = 0
    """an old version of the weights that nobody else uses"""


# Half the time of Backward(...), of which there is one for every other computation.
_backward: Callable[[tuple[int, int, int, int, int, int]], Backward] = partial(tuple.__new__, Backward)


class Footprints:
    """One device, its computations asked for in their order."""

    def __init__(self, schedule: Schedule, durations: Durations, with_gradients: set[int]) -> None:
        self._schedule, self._durations = schedule, durations
        self._with_gradients = with_gradients
        self._forwards: dict[tuple[int, bool], Forward] = {}
        self._backwards: dict[tuple[int, Kind, bool], Backward] = {}
        self._stored: dict[tuple[int, int], int] = {}
        self._first_half_done: set[tuple[int, int]] = set()
        self._recomputed: dict[tuple[int, int], list[int]] = {}
        self._versions = WeightVersions() if schedule.update == "pipedream" else None

    def forward(self, part: Action) -> Forward:
        """What a forward takes."""
        stage, _, microbatch, also, _ = part
        found = self._forwards.get((stage, also < 0))
        if found is None:
            found = self._forwards[stage, also < 0] = self._forward(part)
        if also < 0:
            self._stored[stage, microbatch] = found[0]
        else:
            self._stored[stage, microbatch] = found[0] // 2
            self._stored[stage, also] = found[0] - found[0] // 2
        if self._versions is not None:
            self._versions.forward(part)
        return found

    def _forward(self, part: Action) -> Forward:
        costs = self._durations.stage(part.stage, share_of(part))
        kept = costs.input_bytes if self._schedule.recomputes(part.stage) else costs.activation_bytes
        return Forward(kept, costs.forward_workspace_bytes + max(costs.activation_bytes - kept, 0))

    def backward(self, part: Action) -> Backward:
        """What a backward takes and gives back; a weight gradient ends what the forward began."""
        stage, kind, microbatch, _, half = part
        found = self._backwards.get((stage, kind, half < 0))
        if found is None:
            found = self._backwards[stage, kind, half < 0] = self._backward(part)
        workspace, recomputed = found[0], found[1]
        if recomputed:
            self._recomputed.setdefault((stage, microbatch), []).append(recomputed)
        return found if kind is _I else self._finished(part, workspace, recomputed)

    def _backward(self, part: Action) -> Backward:
        costs = self._durations.stage(part.stage, share_of(part))
        again = part.kind is not _W and self._schedule.recomputes(part.stage)
        return Backward(
            costs.backward_workspace_bytes, max(costs.activation_bytes - costs.input_bytes, 0) if again else 0
        )

    def _finished(self, part: Action, workspace: int, recomputed: int) -> Backward:
        """The weight gradient is there: activations go, and perhaps an old version of the weights."""
        stage, _, microbatch, _, half = part
        key = (stage, microbatch)
        gradients = forgotten = version = 0
        if stage not in self._with_gradients:
            self._with_gradients.add(stage)
            gradients = self._durations.stage(stage).gradient_bytes
        released = self._stored.pop(key)
        if half >= 0 and key not in self._first_half_done:
            self._first_half_done.add(key)
            self._stored[key] = released - released // 2
            released //= 2
        if self._recomputed.get(key):
            forgotten = self._recomputed[key].pop(0) if half >= 0 else sum(self._recomputed.pop(key))
        if self._versions is not None and self._versions.finish(part):
            version = self._durations.stage(stage).parameter_bytes
        return _backward((workspace, recomputed, gradients, released, forgotten, version))

    def step(self, stage: int) -> int:
        """The bytes of the old weights that an optimizer step leaves behind."""
        if self._versions is None or not self._versions.step(stage):
            return 0
        return self._durations.stage(stage).parameter_bytes
