"""Every generator at sizes up to 16 devices and 64 micro-batches, in time: bounds, balance, formulas, both engines."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest

from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Schedule
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.durations import Durations
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.direct import engine as reference
from chimera.simulator.workload.workload import Workload
from tests.grids import DEVICES, NAMES, admitted, some_counts
from tests.machines import stage_machine
from tests.sizes import ALL

pytestmark = pytest.mark.timeout(1200 if ALL else 300)

F, I, W = 300, 310, 290
B = I + W
SIZED = stage_machine(F, B, I, W, size={"activation_bytes": 7, "boundary_bytes": 3})
_TEMPORARY = {"activations", "buffers", "workspace"}


def pipeline_formula(schedule: Schedule) -> Fraction | None:
    """The published time of a pipeline with free messages, where its source gives one for every size."""
    p, m = schedule.devices, schedule.microbatches
    if schedule.name in ("gpipe", "dapple"):  # Table 2 of the Chimera paper: (D-1)/(N+D-1)
        return Fraction((m + p - 1) * (F + B))
    if schedule.name == "data-parallel" and m % p == 0:
        return Fraction(m // p * p * (F + B))  # every device holds all p stages
    if schedule.name == "interleaved" and m % p == 0:  # arXiv 2104.04473: bubble (p-1)(F+B)/v of a device's F+B
        v = int(schedule.options["v"])
        return Fraction((m * v + p - 1) * (F + B), v)
    if schedule.name == "zb-h1" and m >= p:  # arXiv 2401.10241: bubble (p-1)(F+I-W)
        return Fraction(m * (F + B) + (p - 1) * (F + I - W))
    return None


@pytest.mark.parametrize("name", NAMES)
def test_no_size_beats_its_bound_and_formulas_hold(name: str) -> None:
    profile = Profile.uniform(forward=F, backward=B, backward_input=I, backward_weight=W)
    held = 0
    for devices in (*range(1, 9), 12, DEVICES):
        for schedule in admitted(name, devices, some_counts(devices, name, most=1)):
            found = simulate(schedule, profile, engine="compiled")
            assert found.lower_bound_s <= found.metrics.pipeline_ns / 1e9
            expected = pipeline_formula(schedule)
            if expected is not None:
                assert found.metrics.pipeline_ns == expected, schedule
                held += 1
    assert held > 20 or name not in ("gpipe", "dapple", "data-parallel", "interleaved", "zb-h1")


@pytest.mark.parametrize("name", NAMES)
def test_memory_returns_to_where_it_began_and_engines_agree(name: str) -> None:
    for devices in range(1, DEVICES + 1, 7):
        for schedule in admitted(name, devices, some_counts(devices, name, most=1)[:4]):
            workload = Workload(lower(schedule), SIZED, Durations(schedule, SIZED))
            assert CompiledWorkload(workload).times() == reference.run(workload)
            left: Counter[tuple[int, str]] = Counter()
            for event in simulate(schedule, SIZED, engine="compiled").timeline.memory:
                left[event.device, event.category] += event.delta_bytes
            assert not [key for key, count in left.items() if count and key[1] in _TEMPORARY]
