"""A schedule is data: where each stage lives and what each device computes, in which order."""

from __future__ import annotations

__all__ = ["Option", "Plan", "Recompute", "Schedule", "Sync", "Update"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from chimera.pipeline.actions import Step

Option = str | int | float | bool
Recompute = bool | tuple[int, ...]
"""True: all stages; else those named, ascending."""
Sync = Literal["end", "eager", "eager-opt"]
"""When a stage's gradients are all-reduced over its replicas (Chimera paper, section 3.2)."""
Update = Literal["flush", "pipedream", "2bw"]
"""When weights change: once an iteration after a flush; after every micro-batch with stashed
versions (PipeDream); once an iteration without a flush, with two versions (PipeDream-2BW)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The compute order of every device for one iteration of one pipeline (width 1).

    `placement[replica][stage]` is a device; `replica_of[microbatch]` is the replica of the model
    that a micro-batch runs through, so an action needs no direction. `actions[device]` holds
    forwards and backwards only: `chimera.pipeline.lowering.lower.lower` adds everything else.
    """

    name: str
    stages: int
    devices: int
    microbatches: int
    placement: tuple[tuple[int, ...], ...]
    replica_of: tuple[int, ...]
    actions: tuple[tuple[Step, ...], ...]
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    sync: Sync = "end"
    update: Update = "flush"
    recompute: Recompute = False
    """which stages' backwards run the forward again instead of keeping its activations"""

    @property
    def replicas(self) -> int:
        """How many copies of the model the pipeline holds (2f for Chimera)."""
        return len(self.placement)

    def recomputes(self, stage: int) -> bool:
        """Whether a backward of `stage` runs its forward again."""
        return self.recompute if isinstance(self.recompute, bool) else stage in self.recompute

    def device_of(self, stage: int, microbatch: int) -> int:
        """The device on which `stage` processes `microbatch`."""
        return self.placement[self.replica_of[microbatch]][stage]

    def held_by(self, device: int) -> tuple[tuple[int, int], ...]:
        """The (replica, stage) pairs whose weights `device` holds, in that order."""
        return tuple(
            (replica, stage)
            for replica, row in enumerate(self.placement)
            for stage, where in enumerate(row)
            if where == device
        )

    def stages_on(self, device: int) -> tuple[int, ...]:
        """The distinct stages of which `device` holds weights, ascending."""
        return tuple(sorted({stage for _, stage in self.held_by(device)}))

    def replica_devices(self, stage: int) -> tuple[int, ...]:
        """The distinct devices that hold a replica of `stage`, ascending: its all-reduce group."""
        return tuple(sorted({row[stage] for row in self.placement}))

    def split_backward(self) -> bool:
        """Whether any backward is split into I and W."""
        return any(part.kind in "IW" for row in self.actions for action in row for part in action.parts)


@dataclass(frozen=True, slots=True)
class Plan:
    """A lowered schedule: every message, synchronisation and optimizer step made explicit.

    Both interpreters, the simulator and the executor, follow `actions[device]` literally.
    `order` is one global issue order: the device whose next action is issued, step by step, such
    that every send precedes its receive's consumer and no action precedes what it waits for.
    A SEND is issued without waiting for the receiver; a RECV *posts* the receive, its data is
    waited for by the action that consumes it; REDUCE_GRAD starts the all-reduce, STEP waits for it.
    """

    schedule: Schedule
    actions: tuple[tuple[Step, ...], ...]
    order: tuple[int, ...]
