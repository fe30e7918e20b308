"""What paced ranks sleep is what the profile says, and what it says of itself is what was put in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.calibration.fitting.observations import Observations
from chimera.calibration.fitting.profile import Measurements, fit_profile
from chimera.calibration.measuring.pacing import paced_layers, paces
from chimera.calibration.measuring.probes import RankProbes
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedules import build
from chimera.simulator.costs.profile import OptimizerCost
from tests.machines import MLP_TINY, MS, layer_machine, stage_machine

MACHINE = layer_machine()
CUTS = [(2, 8), (5, 5), (1, 9), (8, 2)]


@pytest.mark.parametrize("partition", CUTS)
def test_a_stage_sleeps_for_the_sum_of_its_layers(partition: tuple[int, int]) -> None:
    stages = paces(MACHINE, build("dapple", stages=2, microbatches=4), 4, partition)
    costs = [layer.costs[0] for layer in MACHINE.layers]
    halves = costs[: partition[0]], costs[partition[0] :]
    assert [pace.forward_ns for pace in stages] == [sum(cost.forward_ns for cost in half) for half in halves]
    assert [pace.backward_ns for pace in stages] == [sum(cost.backward_ns or 0 for cost in half) for half in halves]


@pytest.mark.parametrize("partition", CUTS)
def test_a_step_sleeps_by_the_parameters_of_its_stage(partition: tuple[int, int]) -> None:
    stages = paces(MACHINE, build("dapple", stages=2, microbatches=4), 4, partition)
    first = sum(layer.parameters for layer in MACHINE.layers[: partition[0]])
    assert stages[0].step_ns == 2 * first  # two nanoseconds a parameter


def test_a_split_backward_sleeps_for_its_two_halves() -> None:
    machine = stage_machine(5 * MS, 10 * MS, 4 * MS, 7 * MS)
    (pace, _) = paces(machine, build("zb-h1", stages=2, microbatches=4), 1)
    assert (pace.backward_ns, pace.backward_input_ns, pace.backward_weight_ns) == (10 * MS, 4 * MS, 7 * MS)


@given(st.integers(1, 64))
def test_stages_of_a_profile_that_knows_no_layers_sleep_the_same_for_any_size(size: int) -> None:
    schedule = build("gpipe", stages=2, microbatches=2)
    assert paces(stage_machine(), schedule, size) == paces(stage_machine(), schedule, 1)


@pytest.mark.parametrize("size", [1, 2, 8])
def test_layers_sleep_in_proportion_to_the_samples(size: int) -> None:
    # Measured with four samples only: other sizes are in proportion (chimera.simulator.costs.stage_costs)
    schedule = build("gpipe", stages=2, microbatches=2)
    measured, other = paces(MACHINE, schedule, 4), paces(MACHINE, schedule, size)
    for ours, theirs in zip(measured, other, strict=True):
        assert theirs.forward_ns == pytest.approx(ours.forward_ns * size / 4, abs=10)  # ten layers, each rounded


def test_probes_of_paced_layers_are_the_costs_of_the_profile() -> None:
    probes = paced_layers(MACHINE, 4)
    assert [probe.index for probe in probes] == list(range(10))
    for probe, layer in zip(probes, MACHINE.layers, strict=True):
        cost = layer.costs[0]
        assert (probe.forward_ns, probe.backward_ns) == ((cost.forward_ns,), (cost.backward_ns,))
        assert probe.output_bytes == cost.boundary_bytes
        assert (probe.forward_workspace_bytes, probe.backward_workspace_bytes) == (0, 0)


def test_a_profile_comes_back_from_its_own_probes() -> None:
    probes = [RankProbes(layers=paced_layers(MACHINE, 4))]
    fitted = fit_profile("again", Measurements(MLP_TINY, 2, 4, "sgd", probes, Observations(tails=[0])), {})
    for ours, theirs in zip(fitted.layers, MACHINE.layers, strict=True):
        assert (ours.costs[0].forward_ns, ours.costs[0].backward_ns) == (
            theirs.costs[0].forward_ns,
            theirs.costs[0].backward_ns,
        )


def test_a_profile_of_stages_has_no_layers_to_tell_of() -> None:
    with pytest.raises(InputError, match="knows stages, not the layers"):
        paced_layers(stage_machine(name="stages"), 1)


def test_an_optimizer_that_costs_nothing_is_slept_for_no_time() -> None:
    machine = layer_machine(optimizer=OptimizerCost())
    assert {pace.step_ns for pace in paces(machine, build("gpipe", stages=2, microbatches=2), 4)} == {0}
