"""Every schedule of the catalogue, simulated: both engines agree, memory balances, no bound is beaten."""

from __future__ import annotations

from collections import defaultdict

import pytest

from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build, catalogue
from chimera.simulator import simulate
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.profile import (
    AllReduceCost,
    LinkCost,
    OptimizerCost,
    Overheads,
    Profile,
)
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.direct import engine as reference
from chimera.simulator.workload.contention import contention
from chimera.simulator.workload.workload import Workload
from tests.machines import stage_machine

PROFILE = stage_machine(
    1000,
    2100,
    1100,
    900,
    size={
        "activation_bytes": 500,
        "boundary_bytes": 30,
        "forward_workspace_bytes": 20,
        "backward_workspace_bytes": 40,
    },
    parameters=10,
    links={"local": LinkCost(100, 1e9, 7, 11)},
    all_reduce=AllReduceCost(100, 1e9),
    optimizer=OptimizerCost(50, 1.0, 8),
    overheads=Overheads(dispatch_ns=13, iteration_ns=99),
)


def built(name: str, stages: int, microbatches: int) -> Schedule:
    try:
        return build(name, stages=stages, microbatches=microbatches)
    except InputError as refusal:
        pytest.skip(str(refusal))


@pytest.mark.parametrize(("stages", "microbatches"), [(2, 2), (2, 4), (4, 4), (4, 8), (4, 12)])
@pytest.mark.parametrize("name", [entry.name for entry in catalogue() if not entry.reads_file])
def test_every_schedule(name: str, stages: int, microbatches: int) -> None:
    schedule = built(name, stages, microbatches)
    prediction = simulate(schedule, PROFILE)
    assert prediction.lower_bound_s <= prediction.metrics.pipeline_ns / 1e9
    left: dict[str, int] = defaultdict(int)
    for event in prediction.timeline.memory:
        left[event.category] += event.delta_bytes
    transient = ("activations", "workspace", "buffers") + (("versions",) if schedule.update == "pipedream" else ())
    assert not any(left[category] for category in transient)
    workload = Workload(lower(schedule), PROFILE, Durations(schedule, PROFILE))
    if contention(workload) is None:
        assert CompiledWorkload(workload).times() == reference.run(workload)


@pytest.mark.parametrize("name", [entry.name for entry in catalogue() if not entry.reads_file])
def test_no_schedule_beats_the_bound_of_another(name: str) -> None:
    """The bound speaks of any schedule of the same work on as many devices."""
    schedule = built(name, 4, 8)
    if schedule.stages != 4:
        pytest.skip("its stages are smaller pieces of work")
    profile = Profile("free messages", PROFILE.layers, per_stage=True)
    fastest = simulate(schedule, profile).metrics.pipeline_ns / 1e9
    for other in ("gpipe", "chimera", name):
        assert fastest >= simulate(build(other, stages=4, microbatches=8), profile).lower_bound_s
