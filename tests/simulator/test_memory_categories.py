"""Every category of memory recounted by brute force: at each moment, all that could be alive is looked at."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import Category, Span, Timeline
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import LayerCost, LinkCost, OptimizerCost, SizeCost
from tests.sizes import examples
from tests.strategies import schedules

# Even sizes: half a micro-batch, and one of two that were doubled, come out whole.
KEPT, BOUNDARY, FORWARD_SPACE, BACKWARD_SPACE, WEIGHTS, INPUT = 500, 32, 18, 24, 40, 6
COST = SizeCost(
    2,
    forward_ns=1000,
    backward_ns=2100,
    backward_input_ns=1100,
    backward_weight_ns=1000,
    activation_bytes=KEPT,
    boundary_bytes=BOUNDARY,
    forward_workspace_bytes=FORWARD_SPACE,
    backward_workspace_bytes=BACKWARD_SPACE,
)
PROFILE = Profile(
    "sized",
    (LayerCost("stage", (COST,), parameters=10, parameter_bytes=WEIGHTS),),
    per_stage=True,
    input_bytes_per_sample=INPUT // 2,
    links={"local": LinkCost(latency_ns=300, send_overhead_ns=20, receive_overhead_ns=30)},
    optimizer=OptimizerCost(constant_ns=70),
)


class Recount:
    """One device, whose memory is asked for moment by moment."""

    def __init__(self, schedule: Schedule, timeline: Timeline, device: int) -> None:
        self.schedule, self.timeline, self.device = schedule, timeline, device
        spans = [span for span in timeline.spans if span.device == device]
        self.steps = [span for span in spans if span.action.kind is Kind.STEP]
        self.parts = [(part, span) for span in spans if span.stream == "compute" for part in span.action.parts]

    def input_bytes(self, stage: int) -> int:
        """What a recomputing stage keeps of one micro-batch."""
        return INPUT if stage == 0 else BOUNDARY

    def kept(self, stage: int) -> int:
        """What a forward leaves behind, a micro-batch."""
        again = self.schedule.recompute is True or (
            not isinstance(self.schedule.recompute, bool) and stage in self.schedule.recompute
        )
        return self.input_bytes(stage) if again else KEPT

    def finishing(self, stage: int, microbatch: int) -> list[tuple[Action, Span]]:
        """The actions that complete the weight gradient of a micro-batch: one, or two halves."""
        those = (Kind.B, Kind.W)
        return [(p, s) for p, s in self.parts if p.kind in those and (p.stage, p.microbatch) == (stage, microbatch)]

    def activations(self, moment: float) -> int:
        """Stored from the forward's start until the backward's end, computed again from its start."""
        total = 0
        for part, span in self.parts:
            whole = self.kept(part.stage)
            if part.kind is Kind.F:
                for microbatch in part.microbatches:
                    ends = [end for _, end in self.finishing(part.stage, microbatch)]
                    total += sum(whole // len(ends) * (span.start_ns < moment < end.end_ns) for end in ends)
            elif part.kind in (Kind.B, Kind.I):
                share = 2 if part.half >= 0 else 1
                until = [s.end_ns for p, s in self.finishing(part.stage, part.microbatch) if p.half == part.half]
                total += (KEPT - whole) // share * (span.start_ns < moment < max(until))
        return total

    def workspace(self, moment: float) -> int:
        """Of what runs: in proportion to the micro-batches, and what a recomputing forward throws away."""
        total = 0.0
        for part, span in self.parts:
            if span.start_ns < moment < span.end_ns:
                share = 0.5 if part.half >= 0 else len(part.microbatches)
                thrown = KEPT - self.kept(part.stage)
                total += share * (FORWARD_SPACE + thrown if part.kind is Kind.F else BACKWARD_SPACE)
        assert total.is_integer()
        return int(total)

    def buffers(self, moment: float) -> int:
        """Receives from their posting until taken over or used up, sends until they have arrived."""
        total = 0
        for transfer in self.timeline.transfers:
            if transfer.target == self.device:
                wanted = (Kind.F,) if transfer.action.kind is Kind.RECV_F else (Kind.B, Kind.I)
                (consumer,) = (
                    s
                    for p, s in self.parts
                    if p.kind in wanted and p[0] == transfer.action[0] and p[2:] == transfer.action[2:]
                )
                until = consumer.start_ns if wanted == (Kind.F,) else consumer.end_ns
                total += transfer.size_bytes * (transfer.posted_ns < moment < until)
            if transfer.source == self.device:
                total += transfer.size_bytes * (transfer.sent_ns < moment < transfer.arrived_ns)
        return total

    def versions(self, moment: float) -> int:
        """Old weights that a forward has used whose backward has not ended; 2BW keeps one old version always."""
        held = len(self.schedule.held_by(self.device))
        if self.schedule.update != "pipedream":
            return WEIGHTS * held * (self.schedule.update == "2bw")
        old = set()
        for part, span in self.parts:
            if part.kind is not Kind.F or span.start_ns >= moment:
                continue
            ends = [step.end_ns for step in self.steps if step.action.parts[0].stage == part.stage]
            version = sum(end <= span.start_ns for end in ends)
            done = max(end.end_ns for _, end in self.finishing(part.stage, part.microbatch))
            if moment < done and version < sum(end < moment for end in ends):
                old.add((part.stage, version))
        return WEIGHTS * len(old)

    def weights(self, _moment: float) -> int:
        """Always there."""
        return WEIGHTS * len(self.schedule.held_by(self.device))


@settings(max_examples=examples(60), deadline=None)
@given(schedules(max_stages=4, max_microbatches=8))
def test_every_category_equals_its_recount_at_every_moment(schedule: Schedule) -> None:
    timeline = simulate(schedule, PROFILE).timeline
    for device in range(schedule.devices):
        recount = Recount(schedule, timeline, device)
        changes: dict[str, dict[int, int]] = {name: defaultdict(int) for name in get_args(Category)}
        for event in timeline.memory:
            if event.device == device:
                changes[event.category][event.time_ns] += event.delta_bytes
        for name in ("activations", "workspace", "buffers", "versions", "weights"):
            held, moments = 0, sorted(changes[name])
            for moment, following in pairwise([*moments, 2 + max(moments, default=0)]):
                held += changes[name][moment]
                assert held == getattr(recount, name)((moment + following) / 2), (name, device, moment)


@pytest.mark.parametrize(
    ("name", "count", "versions", "least", "most"),
    [
        ("gpipe", 8, (1, 1), 8, 8),
        ("gems", 8, (2, 2), 1, 1),
        ("dapple", 8, (1, 1), 1, 8),
        ("pipedream", 16, (1, 8), 1, 8),  # all versions are there once the pipeline was full
        ("pipedream-2bw", 8, (2, 2), 1, 8),
        ("chimera", 8, (2, 2), 5, 8),
    ],
)
def test_peaks_are_those_of_the_chimera_papers_table(
    name: str, count: int, versions: tuple[int, int], least: int, most: int
) -> None:
    # Chimera, SC'21, Table 2, for D = 8 and N micro-batches: weights and activations per device, least to most.
    schedule = build(name, stages=8, microbatches=count)
    plain = replace(COST, boundary_bytes=0, forward_workspace_bytes=0, backward_workspace_bytes=0)
    profile = replace(PROFILE, layers=(replace(PROFILE.layers[0], costs=(plain,)),), input_bytes_per_sample=0)
    found = simulate(schedule, profile).timeline
    peaks = {}
    for what, categories in (("weights", ("weights", "versions")), ("activations", ("activations",))):
        rows = [
            [e.delta_bytes for e in found.memory if (e.device, e.category in categories) == (d, True)] for d in range(8)
        ]
        highest = [max(sum(row[: n + 1]) for n in range(len(row))) for row in rows]
        peaks[what] = min(highest), max(highest)
    assert peaks == {
        "weights": (versions[0] * WEIGHTS, versions[1] * WEIGHTS),
        "activations": (least * KEPT, most * KEPT),
    }
