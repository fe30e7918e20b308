"""What a prediction says at once is what its timeline says, once that is written down."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import get_args

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.metrics import measure
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import AllReduceCost, LayerCost, LinkCost, OptimizerCost, Overheads, SizeCost
from chimera.simulator.engines.exchanges import Transport
from chimera.simulator.memory.events import memory_peak
from tests.sizes import examples
from tests.strategies import schedules

sizes = st.integers(0, 900)
profiles = st.builds(
    lambda forward, backward, kept, boundary, spaces, persist: Profile(
        "drawn",
        (
            LayerCost(
                "s",
                (SizeCost(2, forward, backward, None, None, kept, boundary, *spaces),),
                parameters=9,
                parameter_bytes=36,
            ),
        ),
        per_stage=True,
        input_bytes_per_sample=3,
        framework_bytes=5,
        links={"local": LinkCost(400, 1e8, 20, 30)},
        all_reduce=AllReduceCost(latency_ns=700),
        optimizer=OptimizerCost(constant_ns=70, gradients_persist=persist),
        overheads=Overheads(dispatch_ns=7),
    ),
    sizes,
    sizes,
    sizes,
    sizes,
    st.tuples(sizes, sizes),
    st.booleans(),
)
NOTHING_TAKES_TIME = Profile(
    "instant",
    (
        LayerCost(
            "s",
            (SizeCost(1, 0, 0, activation_bytes=40, boundary_bytes=31, forward_workspace_bytes=17),),
        ),
    ),
    per_stage=True,
)


@settings(max_examples=examples(150), deadline=None)
@given(schedules(max_stages=5, max_microbatches=12), profiles)
@example(build("dualpipe", stages=2, microbatches=4), NOTHING_TAKES_TIME)
def test_peaks_found_without_events_are_those_of_the_events(schedule: Schedule, profile: Profile) -> None:
    prediction = simulate(schedule, profile)
    rows = groupby(prediction.timeline.memory, key=lambda event: event.device)
    peaks = {device: memory_peak(list(events)).total_bytes for device, events in rows}
    assert [figures.peak_memory_bytes for figures in prediction.metrics.per_device] == [
        peaks.get(device, 0) for device in range(schedule.devices)
    ]


@settings(max_examples=examples(50), deadline=None)
@given(schedules(max_stages=4, max_microbatches=8), profiles, st.sampled_from(get_args(Transport)))
def test_metrics_found_without_a_timeline_are_those_of_the_timeline(
    schedule: Schedule, profile: Profile, semantics: Transport
) -> None:
    prediction = simulate(schedule, profile, semantics=semantics)
    samples = prediction.microbatch_size * schedule.microbatches
    assert prediction.metrics == measure(prediction.timeline, samples_per_iteration=samples)


def test_a_receive_posted_behind_its_computation_has_a_cause_in_the_timeline() -> None:
    plan = lower(build("gpipe", stages=2, microbatches=1))
    receive, forward, *others = plan.actions[1]
    late = replace(plan, actions=(plan.actions[0], (forward, receive, *others)))
    sized = replace(NOTHING_TAKES_TIME, links={"local": LinkCost(400, 1e8)})
    events = [event for event in simulate(late, sized).timeline.memory if event.cause == str(receive)]
    assert [event.delta_bytes for event in events if event.device == 1] == [-31, 31]


def test_without_sizes_there_are_no_peaks() -> None:
    found = simulate(replace(build("gpipe", stages=2, microbatches=2), recompute=True), Profile.uniform())
    assert {figures.peak_memory_bytes for figures in found.metrics.per_device} == {None}
    assert found.timeline.memory == () and found.timeline.peak_memory_bytes == ()
