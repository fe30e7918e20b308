"""The engine for very large schedules against the general one: all figures equal, or it declines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule, Sync
from chimera.pipeline.schedules import build, catalogue
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import (
    AllReduceCost,
    LayerCost,
    LinkCost,
    OptimizerCost,
    Overheads,
    SizeCost,
    Topology,
)
from chimera.simulator.engines.large.memory import peak_bytes
from chimera.simulator.engines.large.run import run_large
from chimera.simulator.predicting import large as large_prediction
from chimera.simulator.predicting.predicted_timeline import PredictedTimeline
from chimera.simulator.reasons.bounds import bound_ns
from tests.sizes import examples
from tests.strategies import schedules

PROFILE = replace(
    Profile.uniform(forward=1000, backward_input=1100, backward_weight=900, p2p=130),
    overheads=Overheads(dispatch_ns=17, iteration_ns=99),
)

SIZED = replace(
    PROFILE,
    layers=(
        LayerCost(
            "stage",
            (
                SizeCost(
                    1,
                    1000,
                    2000,
                    1100,
                    900,
                    activation_bytes=500,
                    boundary_bytes=31,
                    forward_workspace_bytes=17,
                    backward_workspace_bytes=23,
                ),
            ),
            parameters=10,
            parameter_bytes=40,
        ),
    ),
    input_bytes_per_sample=7,
    links={"local": LinkCost(130, 1e8, queueing=False)},
    optimizer=OptimizerCost(1000, 3.0, 8, gradient_bytes_per_parameter=4),
    framework_bytes=10**6,
)
PASSING = replace(SIZED, optimizer=replace(SIZED.optimizer, gradients_persist=False))
QUEUEING = replace(
    SIZED,
    links={"local": LinkCost(1300, 1e8, send_overhead_ns=41, receive_overhead_ns=53)},
    all_reduce=AllReduceCost(10_000, 1e8),
)
NODES = replace(
    QUEUEING,
    links={"same_node": LinkCost(130, 1e8), "other_node": LinkCost(2900, 1e7, 3, 5, queueing=False)},
    topology=Topology(devices_per_node=2),
)


@pytest.mark.parametrize("shape", [(2, 4), (4, 4), (4, 8), (6, 12)])
@pytest.mark.parametrize("name", [entry.name for entry in catalogue() if not entry.reads_file])
def test_figures_are_identical(name: str, shape: tuple[int, int]) -> None:
    try:
        schedule = build(name, stages=shape[0], microbatches=shape[1])
    except InputError as refusal:
        pytest.skip(str(refusal))
    durations = Durations(schedule, PROFILE)
    found, expected = run_large(durations), simulate(schedule, PROFILE)
    if found is None:
        assert _beyond(schedule)
        return
    assert found.metrics(shape[1]) == expected.metrics
    assert found.peak_activations() == expected.peak_activations
    assert bound_ns(durations, found.pieces(), [1.0] * schedule.devices) / 1e9 == expected.lower_bound_s
    assert found.ends.tolist() == [span.end_ns for span in expected.timeline.spans if span.stream == "compute"]


def _beyond(schedule: Schedule) -> bool:
    """Whether a schedule has something that the arrays do not hold."""
    overlapping = any(len(action.parts) > 1 for row in schedule.actions for action in row)
    return schedule.update != "flush" or overlapping


@pytest.mark.parametrize(
    "profile", [SIZED, PASSING, QUEUEING, NODES], ids=["sizes", "gradients pass", "queues", "nodes"]
)
@pytest.mark.parametrize("shape", [(4, 4), (4, 10)])
@pytest.mark.parametrize("name", [entry.name for entry in catalogue() if not entry.reads_file])
def test_peaks_and_optimizer_steps_are_identical(name: str, shape: tuple[int, int], profile: Profile) -> None:
    for width, again in ((1, "none"), (2, "0,2")):
        try:
            schedule = build(name, stages=shape[0], microbatches=shape[1], recompute=again)
        except InputError as refusal:
            pytest.skip(str(refusal))
        durations = Durations(schedule, profile)
        found, expected = run_large(durations, width), simulate(schedule, profile, width=width)
        if found is None:
            assert _beyond(schedule)
            return
        assert found.metrics(width * shape[1], peak_bytes(durations, found)) == expected.metrics


@pytest.mark.parametrize("sync", ["end", "eager", "eager-opt"])
def test_steps_wait_for_all_reduces_wherever_they_are_launched(sync: Sync) -> None:
    schedule = build("chimera", stages=6, microbatches=10, pairs=3, sync=sync)
    found = run_large(Durations(schedule, SIZED))
    assert found is not None and found.iteration_ns == simulate(schedule, SIZED).metrics.iteration_ns
    one_pair = build("chimera", stages=6, microbatches=10, sync=sync)
    queued = run_large(Durations(one_pair, QUEUEING), 2)
    assert queued is not None and queued.iteration_ns == simulate(one_pair, QUEUEING, width=2).metrics.iteration_ns


@pytest.mark.parametrize("profile", [PROFILE, SIZED], ids=["no sizes", "sizes"])
def test_the_front_door_takes_the_fast_way_and_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, profile: Profile
) -> None:
    schedule = build("chimera", stages=4, microbatches=12)
    expected = simulate(schedule, profile, engine="compiled", width=2)
    assert isinstance(expected.source, PredictedTimeline)
    monkeypatch.setattr(large_prediction, "_LARGE", 1)
    found = simulate(schedule, profile, engine="auto", width=2)
    assert not isinstance(found.source, PredictedTimeline)
    assert found.as_json() == expected.as_json()
    assert found.timeline == expected.timeline


def test_half_duplex_cores_and_broken_orders_are_declined() -> None:
    schedule = build("gpipe", stages=2, microbatches=2)
    for profile in (replace(PROFILE, links={"local": LinkCost(1, half_duplex=True)}), replace(PROFILE, cores=1)):
        assert run_large(Durations(schedule, profile)) is None
    backwards = replace(schedule, actions=tuple(tuple(reversed(row)) for row in schedule.actions))
    assert run_large(Durations(backwards, PROFILE)) is None
    short = replace(schedule, actions=(schedule.actions[0][:-1], schedule.actions[1]))
    assert run_large(Durations(short, PROFILE)) is None


@settings(max_examples=examples(150), deadline=None)
@given(
    schedules(max_stages=5, max_microbatches=10),
    st.lists(st.integers(0, 3000), min_size=7, max_size=7),
    st.booleans(),
    st.integers(1, 2),
)
def test_any_costs_give_the_general_engines_figures(
    schedule: Schedule, costs: list[int], queueing: bool, width: int
) -> None:
    dispatch, send, receive, latency, reduce, step, size = costs
    link = LinkCost(latency, 1e9, send, receive, queueing=queueing)
    layer = replace(SIZED.layers[0], costs=(replace(SIZED.layers[0].costs[0], boundary_bytes=size),))
    profile = replace(
        SIZED,
        layers=(layer,),
        links={"local": link},
        all_reduce=AllReduceCost(reduce, 1e9),
        optimizer=replace(SIZED.optimizer, constant_ns=step),
        overheads=Overheads(dispatch_ns=dispatch),
    )
    durations = Durations(schedule, profile)
    found = run_large(durations, width)
    if found is not None:
        expected = simulate(schedule, profile, width=width).metrics
        assert found.metrics(width * schedule.microbatches, peak_bytes(durations, found)) == expected
