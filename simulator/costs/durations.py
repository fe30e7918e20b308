"""How long each action of a schedule takes on its device, and how large its messages are."""

from __future__ import annotations

__all__ = ["Durations"]

from collections.abc import Mapping, Sequence

from chimera.pipeline.actions import Action, Kind, Step
from chimera.pipeline.rules import context_of, split_backwards
from chimera.pipeline.schedule import Schedule
from chimera.simulator.costs.profile import Profile
from chimera.simulator.costs.stage_costs import (
    StageCosts,
    cost_assumptions,
    default_microbatch_size,
    for_chunks,
    stage_costs,
)


class Durations:
    """Costs of one schedule on one profile at one micro-batch size; integer nanoseconds and bytes.

    A doubled forward costs what a micro-batch of twice the size costs, half a backward what half
    the size costs. In stages that recompute, a backward (B or I) takes the forward's time on top.
    """

    def __init__(
        self,
        schedule: Schedule,
        profile: Profile,
        microbatch_size: int | None = None,
        partition: Sequence[int] | None = None,
    ) -> None:
        self.schedule, self.profile = schedule, profile
        self._chunks = for_chunks(profile, schedule)
        self.microbatch_size = microbatch_size or default_microbatch_size(profile)
        # A per-stage profile's costs are those of a whole micro-batch, whatever its size.
        unit = default_microbatch_size(profile) if profile.per_stage else self.microbatch_size
        self._unit = unit
        self._partition = partition
        self._tables: dict[float, tuple[StageCosts, ...]] = {}
        self._memo: dict[tuple[int, str, bool, bool], int] = {}
        arranged = profile.locality.forward_for_split != 1.0
        self._split = frozenset(key[:2] for key in split_backwards(schedule)) if arranged else frozenset()
        self.table(1.0)

    def table(self, share: float) -> tuple[StageCosts, ...]:
        """Costs of all stages for `share` (0.5, 1 or 2) of a micro-batch."""
        if share not in self._tables:
            self._tables[share] = stage_costs(self._chunks, self.schedule.stages, self._unit * share, self._partition)
        return self._tables[share]

    def stage(self, stage: int, share: float = 1.0) -> StageCosts:
        """Costs of one stage for `share` of a micro-batch."""
        return self.table(share)[stage]

    def compute_ns(self, action: Step) -> int:
        """Duration of a computation by itself, overheads of the profile included."""
        return self._joined(action, [self._part_ns(part) for part in action.parts])

    def compute_in_order_ns(
        self, action: Step, previous: Step | None, done: Mapping[tuple[int, Kind], int] | None = None
    ) -> int:
        """Duration of a computation after `previous` on the same device: see `simulator.costs.profile.Locality`.

        `done` counts what the device has computed before in this iteration, by stage and kind.
        """
        factor, done = self.profile.locality.factor(context_of(action, previous)), done or {}
        cold = [self._cold(part.kind, done.get(part[:2], 0)) for part in action.parts]
        if factor == 1.0 and not self._split and not self.schedule.recompute and cold == [1.0]:
            return self.compute_ns(action)
        times = [
            self._part_ns(part) * self._preparing(part) * self._recomputing(part) * each
            for part, each in zip(action.parts, cold, strict=True)
        ]
        return round(factor * self._joined(action, times))

    def _cold(self, kind: Kind, before: int) -> float:
        """The factor of a computation that so many of its stage and kind came before."""
        locality = self.profile.locality
        factors = locality.cold_forwards if kind is Kind.F else locality.cold_backwards if kind is not Kind.W else ()
        return factors[before] if before < len(factors) else 1.0

    def _joined(self, action: Step, times: Sequence[float]) -> int:
        if len(times) == 1:
            return round(times[0])
        factor = self.profile.overheads.overlap_factor
        return round(sum(times) if factor == 1.0 else factor * sum(times))

    def _preparing(self, part: Action) -> float:
        """The factor of a forward whose backward is split."""
        if part.kind is not Kind.F or (part.stage, part.microbatch) not in self._split:
            return 1.0
        return self.profile.locality.forward_for_split

    def _recomputing(self, part: Action) -> float:
        """The factor of a forward that will be repeated, or of the backward that repeats it."""
        if part.kind is Kind.W or not self.schedule.recomputes(part.stage):
            return 1.0
        locality = self.profile.locality
        return locality.forward_for_recomputation if part.kind is Kind.F else locality.backward_with_recomputation

    def _part_ns(self, part: Action) -> int:
        stage, kind, _, also, half = part
        key = (stage, kind, also >= 0, half >= 0)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._compute_part(stage, kind, share_of(part))
        return found

    def _compute_part(self, stage: int, kind: Kind, share: float) -> int:
        costs, overheads = self.stage(stage, share), self.profile.overheads
        if kind is Kind.F:
            return max(costs.forward_ns + overheads.forward_overhead_ns, 0)
        again = costs.forward_ns if self.schedule.recomputes(stage) else 0
        if kind is Kind.B:
            return max(costs.backward_ns + again + overheads.backward_overhead_ns, 0)
        if kind is Kind.I:
            return max(costs.backward_input_ns + again + overheads.backward_overhead_ns, 0)
        return costs.backward_weight_ns

    def step_ns(self, stage: int) -> int:
        """Duration of a stage's optimizer step."""
        return self.stage(stage).optimizer_ns

    def message_bytes(self, receive: Action) -> int:
        """Size of a message, by its receiving action: the stage's input, or the gradient of its output."""
        costs = self.stage(receive.stage, share_of(receive))
        return costs.input_bytes if receive.kind is Kind.RECV_F else costs.boundary_bytes

    def assumptions(self) -> tuple[str, ...]:
        """What had to be assumed about compute costs."""
        return cost_assumptions(self.profile, self.schedule, [share * self._unit for share in self._tables])


def share_of(action: Action) -> float:
    """How much of a micro-batch an action processes: 1, 2 when doubled, 0.5 for a half backward."""
    return 2.0 if action.also >= 0 else 0.5 if action.half >= 0 else 1.0
