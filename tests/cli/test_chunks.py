"""Equal stages' costs are those of a device's share of the model, however finely that is cut."""

from __future__ import annotations

from typing import Any

import pytest

from chimera.calibration.measuring.pacing import paces
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import LayerCost, SizeCost

UNIFORM = Profile.uniform(forward="1ms", backward="2ms")
CUT = ("interleaved", "breadth-first", "zb-v", "v-half", "v-min", "hanayo", "dualpipe-v")


def test_two_chunks_a_device_take_half_as_long_each() -> None:
    """arXiv 2104.04473: m (F + B) and a bubble of (p-1)(F + B) / v: 8 x 3 + 3 x 3 / 2 ms."""
    found = simulate(build("interleaved", stages=4, microbatches=8), UNIFORM)
    assert found.metrics.iteration_ns == 28_500_000
    assert any("each of the 8 stages takes 4/8" in said for said in found.assumptions)


@pytest.mark.parametrize("name", CUT)
def test_every_cut_does_the_work_of_one_stage_a_device(name: str) -> None:
    """Eight micro-batches of F + B = 3 ms on every device, split or not, plus whatever idles."""
    found = simulate(build(name, stages=4, microbatches=8), UNIFORM)
    assert {device.busy_ns for device in found.metrics.per_device} == {8 * 3_000_000}


@pytest.mark.parametrize("name", ["gpipe", "data-parallel", "chimera", "gems", "zb-h1"])
def test_one_stage_a_device_or_copies_of_it_take_the_given_times(name: str) -> None:
    found = simulate(build(name, stages=4, microbatches=8), UNIFORM)
    assert sum(device.busy_ns for device in found.metrics.per_device) == 4 * 8 * 3_000_000
    assert not any("of the given times" in said for said in found.assumptions)


@pytest.mark.parametrize("name", [*CUT, "data-parallel", "dapple"])
def test_the_command_and_python_say_the_same(chimera: Any, name: str) -> None:
    shape = ("--stages", 4, "--microbatches", 8)
    document = chimera("simulate", name, *shape, "--forward", "1ms", "--backward", "2ms", "--json").document
    found = simulate(build(name, stages=4, microbatches=8), UNIFORM).as_json()
    assert (document["iteration_s"], document["assumptions"]) == (found["iteration_s"], found["assumptions"])


def test_layers_are_cut_and_not_scaled() -> None:
    """Eight layers of 3 ns on eight stages: a stage is a layer."""
    layers = LayerCost("layer", (SizeCost(1, 1, 2),), repeat=8)
    found = simulate(build("interleaved", stages=4, microbatches=4), Profile("layers", (layers,)))
    assert {device.busy_ns for device in found.metrics.per_device} == {4 * 2 * 3}


def test_ranks_that_sleep_do_so_for_a_chunks_share() -> None:
    pace = paces(UNIFORM, build("interleaved", stages=4, microbatches=8), 1)
    assert [(each.forward_ns, each.backward_ns) for each in pace] == [(500_000, 1_000_000)] * 8
