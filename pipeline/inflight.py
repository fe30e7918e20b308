"""How many micro-batches are in flight where, and which weights they used: order alone decides, not time."""

from __future__ import annotations

__all__ = ["WeightVersions", "peak_activations", "weights_copies"]

from collections import Counter

from chimera.pipeline.actions import Action, Kind, Step
from chimera.pipeline.schedule import Plan, Schedule

# Looking a member up in its class costs several times as much as a module's name.
_F, _I = Kind.F, Kind.I


def peak_activations(schedule: Schedule) -> tuple[float, ...]:
    """Per device, the most stage activations stored at once, in units of one micro-batch through one stage.

    Counted from a forward to the end of the backward that uses it (B, or W of a split backward);
    half a backward releases half. An overlapped pair holds both. Recomputation does not change the
    count: it changes what is kept, not for how many.
    """
    return tuple(map(_most_stored, schedule.actions))


def _most_stored(row: tuple[Step, ...]) -> float:
    stored = peak = 0.0
    for action in row:
        released = 0.0
        for _, kind, _, also, half in action.parts:
            if kind is _F:
                stored += 1.0 if also < 0 else 2.0
            elif kind is not _I:
                released += 1.0 if half < 0 else 0.5
        if stored > peak:
            peak = stored
        stored -= released
    return peak


class WeightVersions:
    """The weight versions of one device under update="pipedream": who still uses which."""

    def __init__(self) -> None:
        self._current: Counter[int] = Counter()
        self._used: dict[tuple[int, int], int] = {}
        self._users: Counter[tuple[int, int]] = Counter()
        self._halves: set[tuple[int, int]] = set()

    def forward(self, part: Action) -> None:
        """A forward uses the current version of its stage."""
        for microbatch in part.microbatches:
            version = self._current[part.stage]
            self._used[part.stage, microbatch] = version
            self._users[part.stage, version] += 1

    def finish(self, part: Action) -> bool:
        """A backward (B or W) is done; whether an old version is thereby dropped."""
        key = (part.stage, part.microbatch)
        if part.half >= 0 and key not in self._halves:
            self._halves.add(key)
            return False
        version = self._used[key]
        self._users[part.stage, version] -= 1
        return version < self._current[part.stage] and not self._users[part.stage, version]

    def step(self, stage: int) -> bool:
        """An optimizer step makes a new version; whether the old one must be kept for somebody."""
        version = self._current[stage]
        self._current[stage] += 1
        return self._users[stage, version] > 0


def weights_copies(plan: Plan) -> tuple[int, ...]:
    """Per device, the most copies of one stage's weights held at once, versions included."""
    schedule = plan.schedule
    copies = [len(schedule.held_by(device)) for device in range(schedule.devices)]
    if schedule.update == "2bw":
        return tuple(2 * count for count in copies)
    if schedule.update == "flush":
        return tuple(copies)
    return tuple(count + _most_old_versions(plan, device) for device, count in enumerate(copies))


def _most_old_versions(plan: Plan, device: int) -> int:
    versions = WeightVersions()
    old = most = 0
    for action in plan.actions[device]:
        for part in action.parts:
            if part.kind is Kind.F:
                versions.forward(part)
            elif part.kind in (Kind.B, Kind.W):
                old -= versions.finish(part)
            elif part.kind is Kind.STEP:
                old += versions.step(part.stage)
                most = max(most, old)
    return most
