"""The simulator charges a context exactly where calibration will see it: one rule, checked from both ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.calibration.fitting.observations import Observations, observe
from chimera.pipeline.actions import Kind
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import Locality

_NAMES = ["gpipe", "dapple", "chimera", "zb-h1", "zb-v", "dualpipe", "interleaved", "hanayo"]


@pytest.mark.parametrize("name", [*_NAMES, "halved", "doubled"])
def test_every_computation_is_charged_the_factor_of_the_context_it_is_observed_in(name: str) -> None:
    """Times of 1 ms by kind, factors 2, 3 and 5: what an action took over 1 ms tells its factor."""
    options = {"halved": {"concat": "halving"}, "doubled": {"concat": "doubling"}}.get(name, {})
    schedule = build("chimera" if options else name, stages=4, microbatches=12, **options)
    locality = Locality(forward_after_backward=2, backward_after_own_forward=3, weight_after_another=5)
    profile = Profile.uniform(forward="1ms", backward="2ms", backward_input="1ms", backward_weight="1ms")
    timeline = simulate(schedule, replace(profile, locality=locality), samples=0).timeline
    plain = simulate(schedule, profile).timeline
    alone = {(span.device, span.action): span.end_ns - span.start_ns for span in plain.spans}
    seen = Observations()
    observe(schedule, [timeline], [0] * schedule.stages, seen)
    spans = [[s for s in timeline.of_device(device) if s.action.kind is not Kind.OVERLAP] for device in range(4)]
    actions = [(device, span.action) for device, row in enumerate(spans) for span in row]
    assert len(actions) == len(seen.actions) > 0
    for place, each in zip(actions, seen.actions, strict=True):
        assert each.duration_ns == alone[place] * locality.factor(each.context), place


@pytest.mark.parametrize(
    ("name", "expected"), [("dualpipe", "after-backward"), ("halved", "own-forward"), ("zb-h1", "after-another")]
)
def test_the_schedules_above_show_every_context(name: str, expected: str) -> None:
    options = {"concat": "halving"} if name == "halved" else {}
    schedule = build("chimera" if options else name, stages=4, microbatches=12, **options)
    seen = Observations()
    observe(schedule, [simulate(schedule, Profile.uniform()).timeline], [0] * 4, seen)
    assert expected in {each.context for each in seen.actions}
