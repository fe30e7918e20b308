"""A schedule is data: where each stage lives and what each device computes, in which order."""

from __future__ import annotations

__all__ = ["Option", "Plan", "Recompute", "Schedule", "Sync", "Update", "require_schedule"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chimera.pipeline.actions import RECEIVES, Action, Step
from chimera.pipeline.content import Content, FrozenDict, canonical
from chimera.pipeline.errors import InputError
from chimera.pipeline.showing import Record, facts_table, show_line

Option = str | int | float | bool
Recompute = bool | tuple[int, ...]
"""True: all stages; else those named, ascending."""
Sync = Literal["end", "eager", "eager-opt"]
"""When a stage's gradients are all-reduced over its replicas (Chimera paper, section 3.2)."""
Update = Literal["flush", "pipedream", "2bw"]
"""When weights change: once an iteration after a flush; after every micro-batch with stashed
versions (PipeDream); once an iteration without a flush, with two versions (PipeDream-2BW)."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Schedule(Content):
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
    options: Mapping[str, Option] = field(default_factory=dict)
    sync: Sync = "end"
    update: Update = "flush"
    recompute: Recompute = False
    """which stages' backwards run the forward again instead of keeping its activations"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", FrozenDict(self.options))

    def _canonical(self) -> Any:
        """With actions as text: a large schedule has a hundred thousand of them."""
        others = {name: canonical(getattr(self, name)) for name in self.__slots__ if name != "actions"}
        return others | {"actions": [" ".join(map(_text, row)) for row in self.actions]}

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

    def __repr__(self) -> str:
        return show_line("Schedule", _subject(self), _facts(self))

    def _repr_html_(self) -> str:
        return facts_table(f"Schedule {self.name}", _summary(self))

    def records(self) -> list[Record]:
        """One for each action, device by device in order; an overlapped pair is two with one `position`."""
        return _records(self, self.actions)


@dataclass(frozen=True, slots=True, repr=False)
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

    def __repr__(self) -> str:
        return show_line("Plan", _subject(self.schedule), _figures(self.actions))

    def _repr_html_(self) -> str:
        messages = sum(action.kind in RECEIVES for row in self.actions for action in row)
        planned: Record = {"planned_actions": sum(map(len, self.actions)), "messages": messages}
        return facts_table(f"Plan of {self.schedule.name}", _summary(self.schedule) | planned)

    def records(self) -> list[Record]:
        """One for each action, device by device in order; an overlapped pair is two with one `position`."""
        return _records(self.schedule, self.actions)


def require_schedule(value: object) -> Schedule | Plan:
    """The value, if it is a schedule or a plan; InputError with what to do for anything else, a name above all."""
    if isinstance(value, Schedule | Plan):
        return value
    if isinstance(value, str):
        remedy = f"build it first: build({value!r}, stages=8, microbatches=8), or read_schedule for a file"
        raise InputError(f"schedule {value!r}", "is a name, not a schedule", remedy)
    raise InputError(
        f"schedule of type {type(value).__name__}", "is neither a schedule nor a plan", "give what build returns"
    )


def _text(action: Step) -> str:
    """All fields, numbers that are equal alike."""
    if isinstance(action, Action):
        stage, kind, microbatch, also, half = action
        return f"{stage:d}{kind}{microbatch:d}+{also:d}.{half:d}"
    return f"({_text(action.forward)};{_text(action.backward)})"


def _subject(schedule: Schedule) -> str:
    return f"{schedule.name} D={schedule.devices} N={schedule.microbatches}"


def _facts(schedule: Schedule) -> list[str]:
    replicas = [f"{schedule.replicas} replicas"] if schedule.replicas > 1 else []
    return [f"{schedule.stages} stages", *replicas, f"{sum(map(len, schedule.actions))} actions"]


def _figures(rows: tuple[tuple[Step, ...], ...]) -> list[str]:
    messages = sum(action.kind in RECEIVES for row in rows for action in row)
    return [f"{sum(map(len, rows))} actions", f"{messages} messages"]


def _summary(schedule: Schedule) -> Record:
    """What can be said of a schedule without its orders."""
    recompute = schedule.recompute
    return {
        "schedule": schedule.name,
        "stages": schedule.stages,
        "devices": schedule.devices,
        "microbatches": schedule.microbatches,
        "replicas": schedule.replicas,
        "options": ", ".join(f"{key}={value}" for key, value in schedule.options.items()),
        "sync": schedule.sync,
        "update": schedule.update,
        "recompute": recompute if isinstance(recompute, bool) else ",".join(map(str, recompute)),
        "actions": sum(map(len, schedule.actions)),
    }


def _records(schedule: Schedule, rows: tuple[tuple[Step, ...], ...]) -> list[Record]:
    return [
        {
            "schedule": schedule.name,
            "device": device,
            "position": position,
            "action": str(action),
            "kind": part.kind.value,
            "stage": part.stage,
            "microbatch": part.microbatch if part.microbatch >= 0 else None,
            "second_microbatch": part.also if part.also >= 0 else None,
            "half": part.half if part.half >= 0 else None,
        }
        for device, row in enumerate(rows)
        for position, action in enumerate(row)
        for part in action.parts
    ]
