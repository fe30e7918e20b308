"""Links, all-reduces, layers and steps fitted to measurements of machines whose truth is known, with noise and gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.calibration.fitting.observations import Observation, Observations, observe
from chimera.calibration.fitting.profile import Measurements, fit_profile
from chimera.calibration.measuring.probes import OverlapProbe, RankProbes
from chimera.calibration.measuring.short_runs import calibration_schedules
from chimera.pipeline.actions import Kind
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.models import layers
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedules import build
from chimera.pipeline.setting import Setting
from chimera.pipeline.timeline import Timeline
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import Jitter, LinkCost
from chimera.simulator.draws.sampling import draw, drawn
from chimera.simulator.engines.direct import engine
from chimera.simulator.engines.times import timeline_of
from chimera.simulator.workload.workload import Workload
from tests.calibration.invented_probes import layer_probe, rank_probes
from tests.machines import MLP_TINY, MS, layer_machine

MACHINE = layer_machine()
BOUNDARY = 512 * 4 * 4
"""bytes of the messages of four samples of mlp-tiny: 512 floats each"""
SIZES = (1024, BOUNDARY, 4 * BOUNDARY)


def fit(probes: RankProbes, observations: Observations | None = None, stages: int = 2) -> Profile:
    """The profile of probes and observations; with none of those, of a tail that takes no time."""
    seen = observations or Observations()
    seen.tails = seen.tails or [0]
    return fit_profile("fitted", Measurements(MLP_TINY, stages, 4, "sgd", [probes], seen), {})


def waits(*delays_ns: int, dispatch_ns: int = 0) -> Observations:
    """Computations that began so long after their message was sent, and others that only had to be dispatched."""
    rows = [("waited", delay) for delay in delays_ns] + [("ready", dispatch_ns)] * 3
    return Observations([Observation(0, Kind.F, "fresh", False, MS, start, delay) for start, delay in rows])  # type: ignore[arg-type]


# Links


def messages(alpha_ns: float, ns_per_byte: float, noise: float = 0.0, seed: int = 0) -> dict[int, list[int]]:
    """A dozen round trips a size over a link that is known."""
    generator = np.random.default_rng(seed)
    return {
        size: [round((alpha_ns + ns_per_byte * size) * factor) for factor in generator.lognormal(0, noise, 12)]
        for size in SIZES
    }


def test_without_messages_a_link_is_free() -> None:
    assert fit(rank_probes(MACHINE)).links["local"] == LinkCost()


def test_without_a_computation_that_waited_the_link_is_that_of_the_round_trips() -> None:
    link = fit(rank_probes(MACHINE, messages=messages(50_000, 2))).links["local"]
    assert link.latency_ns == pytest.approx(50_000, abs=1) and link.bandwidth_bytes_per_s == pytest.approx(0.5e9)


def test_delays_in_place_have_the_last_word_on_latency() -> None:
    # 300 us from end to start, less 20 us of dispatch, less 2 ns a byte: what is left is latency
    link = fit(rank_probes(MACHINE, messages=messages(50_000, 2)), waits(*[300_000] * 5, dispatch_ns=20_000)).links[
        "local"
    ]
    assert link.latency_ns == 280_000 - 2 * BOUNDARY and link.bandwidth_bytes_per_s == pytest.approx(0.5e9)


def test_messages_that_are_faster_in_a_pipeline_than_round_trips_say_bound_the_bandwidth() -> None:
    # At 200 ns a byte a boundary would take 1.6 ms, but consumers waited 0.4 ms in all: no latency, and 0.4 ms a
    # boundary
    link = fit(rank_probes(MACHINE, messages=messages(50_000, 200)), waits(*[400_000] * 5)).links["local"]
    assert link.latency_ns == 0 and link.bandwidth_bytes_per_s == pytest.approx(BOUNDARY / 0.4e-3)


@pytest.mark.parametrize("seed", range(4))
def test_outlying_delays_and_noisy_round_trips_do_not_move_a_link(seed: int) -> None:
    generator = np.random.default_rng(seed)
    delays = (400_000 * generator.lognormal(0, 0.05, 60)).round().astype(int).tolist()
    link = fit(rank_probes(MACHINE, messages=messages(100_000, 10, 0.05, seed)), waits(*delays, *[50 * MS] * 6)).links[
        "local"
    ]
    whole = link.latency_ns + 1e9 * BOUNDARY / (link.bandwidth_bytes_per_s or float("inf"))
    # A median of 66 has a standard error of 1.2533 x 5 % / sqrt(66) = 0.8 %; six outliers shift it by as much again
    assert whole == pytest.approx(400_000, rel=0.03)


@given(st.integers(10_000, 10 * MS), st.integers(10_000, 10 * MS))
def test_a_link_that_made_consumers_wait_longer_is_never_faster(one: int, other: int) -> None:
    probes = rank_probes(MACHINE, messages=messages(20_000, 3))
    costs = []
    for delay in sorted((one, other)):
        link = fit(probes, waits(*[delay] * 3)).links["local"]
        costs.append(link.latency_ns + 1e9 * BOUNDARY / (link.bandwidth_bytes_per_s or float("inf")))
    assert costs[0] <= costs[1] + 1  # latencies are whole nanoseconds


# All-reduces


def reduces(table: Mapping[int, tuple[float, float]]) -> dict[int, dict[int, Sequence[int]]]:
    """Probes by ranks and bytes of all-reduces that take alpha + beta x bytes."""
    return {ranks: {size: [round(alpha + beta * size)] * 5 for size in SIZES} for ranks, (alpha, beta) in table.items()}


def test_without_probes_an_all_reduce_is_free() -> None:
    assert fit(rank_probes(MACHINE)).all_reduce.measured == ()


def test_an_all_reduce_never_seen_in_place_costs_what_the_probe_says() -> None:
    cost = fit(rank_probes(MACHINE, all_reduces=reduces({2: (60_000, 4), 4: (90_000, 8)}))).all_reduce
    assert {(one.group, one.size_bytes): one.duration_ns for one in cost.measured} == {
        (ranks, size): round(alpha + beta * size)
        for ranks, alpha, beta in ((2, 60_000, 4), (4, 90_000, 8))
        for size in SIZES
    }
    # A ring of two takes two latencies; where no entry of the table fits, the smallest group's line does
    assert cost.latency_ns == 30_000 and cost.bandwidth_bytes_per_s == pytest.approx(0.25e9)


def test_what_pipelined_runs_showed_scales_its_group_and_the_usual_scale_those_never_seen() -> None:
    probes = rank_probes(MACHINE, all_reduces=reduces({2: (60_000, 0), 4: (90_000, 0)}))
    seen = Observations(reduces=[(2, BOUNDARY, 90_000), (2, BOUNDARY, 90_000), (2, BOUNDARY, 9 * MS)])
    times = {(one.group, one.size_bytes): one.duration_ns for one in fit(probes, seen).all_reduce.measured}
    assert times[2, BOUNDARY] == 90_000  # 1.5 times the probe, whatever the one outlier
    assert times[4, BOUNDARY] == 135_000


def test_all_reduces_over_a_group_that_was_not_probed_say_nothing() -> None:
    probes = rank_probes(MACHINE, all_reduces=reduces({2: (60_000, 4)}))
    assert fit(probes, Observations(reduces=[(8, BOUNDARY, 9 * MS)])).all_reduce == fit(probes).all_reduce


@given(st.floats(0, 1e6), st.floats(0, 10), st.floats(0.2, 5))
def test_a_table_grows_with_size_and_scales_as_a_whole(alpha: float, beta: float, scale: float) -> None:
    probes = rank_probes(MACHINE, all_reduces=reduces({2: (alpha + 1, beta)}))
    plain = [one.duration_ns for one in fit(probes).all_reduce.measured]
    seen = Observations(reduces=[(2, BOUNDARY, round(scale * (alpha + 1 + beta * BOUNDARY)))])
    scaled = [one.duration_ns for one in fit(probes, seen).all_reduce.measured]
    assert plain == sorted(plain) and scaled == sorted(scaled)
    assert scaled[1] == pytest.approx(scale * plain[1], abs=2 + 2 * scale)


def test_slowdowns_are_those_of_all_ranks_together() -> None:
    # Ranks of 1.0, 2.0 and 2.0 times as slow: medians over all of them
    rank = [rank_probes(overlaps=[OverlapProbe(10, 30, end, 30 + end // 2)]) for end in (10, 20, 20)]
    rank[0] = rank_probes(MACHINE, all_reduces=reduces({2: (60_000, 4)}), overlaps=rank[0].overlaps)
    seen = Observations(tails=[0])
    cost = fit_profile("fitted", Measurements(MLP_TINY, 2, 4, "sgd", rank, seen), {}).all_reduce
    assert cost.reduce_slowdown == 2.0 and cost.compute_slowdown == 2.0


# Layers


def test_where_no_pipeline_ran_layers_cost_what_their_probes_say() -> None:
    for fitted, truth in zip(fit(rank_probes(MACHINE)).layers, MACHINE.layers, strict=True):
        ours, theirs = fitted.costs[0], truth.costs[0]
        assert (ours.forward_ns, ours.backward_ns) == (theirs.forward_ns, theirs.backward_ns)
        assert (ours.backward_input_ns, ours.backward_weight_ns) == (None, None)  # nobody has seen a split one
        assert (fitted.name, fitted.parameters, ours.boundary_bytes) == (
            truth.name,
            truth.parameters,
            theirs.boundary_bytes,
        )


def test_times_of_layers_of_the_same_shape_are_pooled() -> None:
    # Layers 1 to 8 are alike; one of them was disturbed in every repetition, and the median of all is another's
    probes = rank_probes(MACHINE)
    slow = replace(probes.layers[3], forward_ns=(90 * MS,) * 5)
    disturbed = replace(probes, layers=(*probes.layers[:3], slow, *probes.layers[4:]))
    assert [layer.costs[0].forward_ns for layer in fit(disturbed).layers] == [
        layer.costs[0].forward_ns for layer in MACHINE.layers
    ]


def test_layers_may_have_been_measured_on_any_rank() -> None:
    whole = rank_probes(MACHINE, messages=messages(50_000, 2))
    halves = [replace(whole, layers=whole.layers[:5]), RankProbes(layers=whole.layers[5:])]
    measured = Measurements(MLP_TINY, 2, 4, "sgd", halves, Observations(tails=[0]))
    assert fit_profile("fitted", measured, {}) == fit(whole)


@given(st.lists(st.integers(1, 10**7), min_size=10, max_size=10), st.integers(10**5, 10**9))
def test_stages_sum_to_what_they_took_in_place_and_layers_share_it_as_alone(alone: list[int], stage_ns: int) -> None:
    # All layers but first and last are alike and pooled, so a share depends on three numbers only
    probes = RankProbes(layers=tuple(layer_probe(index, [time], [time]) for index, time in enumerate(alone)))
    seen = Observations([Observation(0, Kind.F, "fresh", False, stage_ns, "ready", 0, turn=3)], tails=[0])
    fitted, members = fit(probes, seen), Partition.default(MLP_TINY, 2).ranges[0]
    times = [fitted.layers[index].costs[0].forward_ns for index in members]
    pooled = [alone[0] if index == 0 else median(alone[1:9]) for index in members]
    assert sum(times) == pytest.approx(stage_ns, abs=len(times))  # each is rounded
    for time, share in zip(times, pooled, strict=True):
        assert time == pytest.approx(stage_ns * share / sum(pooled), abs=1)


def test_spreads_are_those_of_the_repetitions() -> None:
    noisy = tuple(int(time) for time in np.random.default_rng(2).normal(10**6, 5 * 10**4, 4000))
    probes = rank_probes(MACHINE)
    first = replace(probes.layers[0], forward_ns=noisy)
    fitted = fit(replace(probes, layers=(first, *probes.layers[1:]))).layers[0].costs[0]
    assert fitted.forward_spread == pytest.approx(0.05, rel=0.1) and fitted.backward_spread == 0


# The whole machine from noisy runs

OWN = tuple(np.linspace(-0.06, 0.06, 33))
JITTERS = {
    "noise": Jitter(action_quantiles=OWN, message_spread=0.1),
    "drift": Jitter(action_quantiles=OWN, iteration_spread=0.02),
    "stalls": Jitter(action_quantiles=OWN, stalls_per_s=3.0, stall_ns=8 * MS),
    "stragglers": Jitter(action_quantiles=OWN, straggler_probability=0.05, straggler_factor=1.5),
}


def noisy_runs(jitter: Jitter, stages: int, partition: tuple[int, ...] | None, seed: int) -> Observations:
    """Thirty drawn iterations of each calibration run on the machine of the test."""
    observations = Observations()
    for number, schedule in enumerate(calibration_schedules(stages).values()):
        machine = replace(MACHINE, jitter=jitter)
        workload = Workload(lower(schedule), machine, Durations(schedule, machine, 4, partition))
        rows = [row for batch in draw(workload, 30, seed + number) for row in batch]
        timelines: list[Timeline] = []
        for row in rows:
            sample = drawn(workload, row)
            timelines.append(timeline_of(sample, engine.run(sample)))
        cut = Partition.of_model(MLP_TINY, stages, partition)
        setting = Setting.of(MLP_TINY, stages=stages, microbatch_size=4, partition=cut)
        observe(schedule, timelines, setting.gradient_bytes(stages), observations)
    return observations


@pytest.mark.parametrize("partition", [None, (2, 8)], ids=["balanced", "unequal"])
@pytest.mark.parametrize("noise", JITTERS)
def test_a_machine_is_recovered_from_noisy_runs(noise: str, partition: tuple[int, ...] | None) -> None:
    observations = noisy_runs(JITTERS[noise], 2, partition, seed=40)
    probes = [rank_probes(MACHINE, factor=0.8, messages=messages(100_000, 1))]
    measured = Measurements(MLP_TINY, 2, 4, "sgd", probes, observations, partition)
    fitted = replace(fit_profile("fitted", measured, {}), jitter=Jitter())
    for name in ("gpipe", "dapple", "zb-h1"):
        schedule = build(name, stages=2, microbatches=12)
        ours, theirs = (
            simulate(schedule, machine, microbatch_size=4, partition=partition).metrics.iteration_ns
            for machine in (fitted, MACHINE)
        )
        assert ours == pytest.approx(theirs, rel=0.02), name


def test_sizes_of_layers_come_from_the_model_alone() -> None:
    fitted = fit(rank_probes(MACHINE))
    assert [layer.parameters for layer in fitted.layers] == [layer.parameters for layer in layers(MLP_TINY)]
    assert fitted.input_bytes_per_sample == 64 * 4  # 64 features of four bytes
