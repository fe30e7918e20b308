"""What timelines show, read off timelines that are written down by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from chimera.calibration.fitting.observations import Observation, Observations, observe
from chimera.pipeline.actions import Kind, parse_action
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import Span, Stream, Timeline
from chimera.simulator import simulate
from chimera.simulator.costs.profile import AllReduceCost, LinkCost, OptimizerCost, Overheads
from tests.machines import MS, stage_machine
from tests.strategies import schedules

TWO_STAGES = build("gpipe", stages=2, microbatches=2)
ONE_STAGE = build("gpipe", stages=1, microbatches=2)
_STREAMS: dict[Kind, Stream] = {Kind.REDUCE_GRAD: "sync", Kind.STEP: "optimizer"}


def timeline(*rows: str, end_ns: int | None = None) -> Timeline:
    """One row a device of words such as `0F1@3-5`: the action, and from when to when in milliseconds."""
    spans = []
    for device, row in enumerate(rows):
        for word in row.split():
            text, _, times = word.partition("@")
            start, end = (round(float(time) * MS) for time in times.split("-"))
            action = parse_action(text)
            spans.append(Span(device, _STREAMS.get(action.kind, "compute"), action, start, end))
    return Timeline("measured", "x", len(rows), tuple(spans), end_ns or max(span.end_ns for span in spans))


def observed(
    schedule: Schedule, *timelines: Timeline, gradients: tuple[int, ...] = (100, 100, 100), width: int = 1
) -> Observations:
    observations = Observations()
    observe(schedule, timelines, gradients, observations, width=width)
    return observations


def by_name(observations: Observations) -> dict[str, Observation]:
    return {f"{seen.stage}{seen.kind}{seen.microbatch}": seen for seen in observations.actions}


# How an action came to start when it did

FORWARDS = "0F0@0-10 0F1@10-20"


def test_an_action_whose_message_came_late_has_waited_for_it() -> None:
    seen = by_name(observed(TWO_STAGES, timeline(FORWARDS, "1F0@10.4-12 1F1@20.4-30")))
    assert (seen["1F0"].start, seen["1F0"].delay_ns) == ("waited", 0.4 * MS)  # since 0F0 ended
    assert (seen["1F1"].start, seen["1F1"].delay_ns) == ("waited", 0.4 * MS)


def test_an_action_whose_message_lay_there_was_ready_when_its_device_was() -> None:
    seen = by_name(observed(TWO_STAGES, timeline(FORWARDS, "1F0@10.4-30 1F1@30.05-50")))
    assert (seen["1F1"].start, seen["1F1"].delay_ns) == ("ready", 0.05 * MS)  # since 1F0 ended


def test_an_action_whose_message_and_device_came_within_half_a_millisecond_is_unclear() -> None:
    seen = by_name(observed(TWO_STAGES, timeline(FORWARDS, "1F0@10.4-20.3 1F1@20.5-30")))
    assert (seen["1F1"].start, seen["1F1"].delay_ns) == ("unclear", 0.2 * MS)  # since the later of 20 and 20.3


def test_the_first_action_of_an_iteration_has_nothing_to_be_late_for() -> None:
    seen = by_name(observed(TWO_STAGES, timeline("0F0@3-10 0F1@10.1-20", "1F0@10.4-30")))
    assert (seen["0F0"].start, seen["0F0"].delay_ns) == ("first", 0)
    assert (seen["0F1"].start, seen["0F1"].delay_ns) == ("ready", 0.1 * MS)  # its input is the mini-batch's


def test_a_backward_waits_for_the_gradient_of_the_stage_behind() -> None:
    split = build("zb-h1", stages=2, microbatches=2)
    for backward, schedule in (("1B0", TWO_STAGES), ("1I0", split)):
        rows = ("0F0@0-10 0F1@10-20 0B0@41-50", f"1F0@10.4-20 {backward}@20-40")
        seen = by_name(observed(schedule, timeline(*rows)))
        assert (seen["0B0"].start, seen["0B0"].delay_ns) == ("waited", 1 * MS), backward


def test_a_weight_gradient_waits_for_nobody() -> None:
    schedule = build("zb-h1", stages=2, microbatches=2)
    rows = ("0F0@0-10 0I0@41-50 0W0@50.2-60", "1F0@10.4-20 1I0@20-40 1W0@40-70")
    seen = by_name(observed(schedule, timeline(*rows)))
    assert (seen["0W0"].start, seen["0W0"].delay_ns) == ("ready", 0.2 * MS)


# What an action is


def test_forwards_before_a_split_backward_are_marked_and_no_others() -> None:
    row = "0F0@0-1 0F1@1-2 0I0@2-3 0W0@3-4 0B1@4-5"
    order = tuple(parse_action(word.partition("@")[0]) for word in row.split())
    schedule = replace(ONE_STAGE, actions=(order,))
    seen = by_name(observed(schedule, timeline(row)))
    assert [seen[name].split for name in ("0F0", "0F1", "0I0", "0W0", "0B1")] == [True, False, False, False, False]


def test_turns_count_what_a_device_has_done_of_a_stage_and_kind() -> None:
    seen = by_name(observed(ONE_STAGE, timeline("0F0@0-1 0F1@1-2 0B0@2-3 0F2@3-4 0B1@4-5")))
    assert {name: one.turn for name, one in seen.items()} == {"0F0": 0, "0F1": 1, "0B0": 0, "0F2": 2, "0B1": 1}


def test_stages_that_recompute_say_so() -> None:
    schedule = replace(TWO_STAGES, recompute=(1,))
    seen = by_name(observed(schedule, timeline(FORWARDS, "1F0@10.4-20")))
    assert not seen["0F0"].recompute and seen["1F0"].recompute


def test_runs_and_iterations_are_counted_over_all_calls() -> None:
    observations, one = Observations(), timeline("0F0@0-1")
    observe(ONE_STAGE, [one, one], [4], observations)
    observe(ONE_STAGE, [one], [4], observations)
    assert [(seen.run, seen.iteration) for seen in observations.actions] == [(0, 0), (0, 1), (1, 2)]
    assert (observations.runs, observations.iterations) == (2, 3)


# What follows the computations

CHIMERA = build("chimera", stages=2, microbatches=2)
"""both stages on both devices: two all-reduces over two replicas"""


def test_all_reduces_that_overlap_share_the_links_of_their_device() -> None:
    # Both were launched at 10 on the last device; one ends at 14, the other at 20: 4 ms and 6 ms of links, 5 on average
    device = "0F0@0-10 0REDUCE_GRAD@10-14 1REDUCE_GRAD@10-20"
    observations = observed(CHIMERA, timeline(device, device), gradients=(100, 300))
    assert observations.reduces == [(2, 200, 5 * MS)] * 2
    assert observations.reduce_times == {(0, 1): [10 * MS]}


def test_an_all_reduce_begins_when_its_last_device_joins_it() -> None:
    early, late = "0F0@0-10 0REDUCE_GRAD@10-20", "1F0@0-16 0REDUCE_GRAD@16-20"
    observations = observed(CHIMERA, timeline(early, late))
    assert observations.reduces == [(2, 100, 4 * MS)] * 2  # nothing is reduced while the first waits


def test_an_all_reduce_beside_computation_says_nothing_of_one_alone() -> None:
    beside = "0F0@0-10 0REDUCE_GRAD@10-20 1F0@12-30"
    assert observed(CHIMERA, timeline(beside, beside)).reduces == []


def test_copies_of_the_pipeline_widen_the_group() -> None:
    device = "0F0@0-10 0REDUCE_GRAD@10-14"
    assert [ranks for ranks, _, _ in observed(CHIMERA, timeline(device, device), width=3).reduces] == [6, 6]


def test_steps_are_kept_by_stage_and_tails_by_iteration() -> None:
    rows = ("0F0@0-10 0STEP@11-13", "1F0@10.4-20 1STEP@20-25")
    observations = observed(TWO_STAGES, timeline(*rows, end_ns=26 * MS), timeline(*rows, end_ns=27 * MS))
    assert observations.steps == {0: [2 * MS] * 2, 1: [5 * MS] * 2}
    assert observations.tails == [1 * MS, 2 * MS]


# Against a simulator that was told

SLOW_LINKS = stage_machine(
    5 * MS,
    10 * MS,
    4 * MS,
    6 * MS,
    links={"local": LinkCost(latency_ns=2 * MS)},
    overheads=Overheads(dispatch_ns=MS // 10, iteration_ns=3 * MS),
    all_reduce=AllReduceCost(latency_ns=MS),
    optimizer=OptimizerCost(constant_ns=4 * MS),
)


@given(schedules(("gpipe", "dapple", "chimera", "zb-h1"), max_stages=4, max_microbatches=8))
def test_every_computation_is_observed_once_and_takes_what_the_machine_says(schedule: Schedule) -> None:
    predicted = simulate(schedule, SLOW_LINKS).timeline
    observations = Observations()
    observe(schedule, [predicted], [4] * schedule.stages, observations)
    spans = [span for span in predicted.spans if span.stream == "compute"]
    assert len(observations.actions) == len(spans)
    assert sum(seen.duration_ns for seen in observations.actions) == sum(span.end_ns - span.start_ns for span in spans)
    assert all(time == 4 * MS for row in observations.steps.values() for time in row)


@pytest.mark.parametrize("name", ["gpipe", "dapple"])
def test_delays_are_the_latency_of_who_waited_and_the_dispatch_of_who_did_not(name: str) -> None:
    schedule = build(name, stages=4, microbatches=8)
    observations = Observations()
    observe(schedule, [simulate(schedule, SLOW_LINKS).timeline], [4] * 4, observations)
    delays = {
        start: {seen.delay_ns for seen in observations.actions if seen.start == start} for start in ("waited", "ready")
    }
    assert min(delays["waited"]) >= 2 * MS and delays["ready"] == {MS // 10}
    assert observations.tails == [3 * MS]


def test_kinds_of_a_stage_are_told_apart() -> None:
    schedule = build("zb-h1", stages=2, microbatches=4)
    observations = Observations()
    observe(schedule, [simulate(schedule, SLOW_LINKS).timeline], [4, 4], observations)
    times = {seen.kind: seen.duration_ns for seen in observations.actions}
    assert {times[kind] for kind in (Kind.F, Kind.I, Kind.W)} == {5 * MS, 4 * MS, 6 * MS}
