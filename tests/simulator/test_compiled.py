"""The compiled engine against the reference engine: every moment equal, and a reason where it cannot answer."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.errors import DeadlockError, InputError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.schedules import build
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
from chimera.simulator.draws.sampling import as_rows, draw
from chimera.simulator.engines.choice import Engine
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.direct import engine as reference
from chimera.simulator.workload.workload import Workload
from tests.sizes import examples

schedules = st.one_of(
    st.builds(
        lambda name, stages, microbatches: build(name, stages=stages, microbatches=microbatches),
        st.sampled_from(["gpipe", "dapple"]),
        st.integers(1, 6),
        st.integers(1, 8),
    ),
    st.builds(
        lambda half, microbatches, sync: build("chimera", stages=2 * half, microbatches=microbatches, sync=sync),
        st.integers(1, 4),
        st.integers(1, 12),
        st.sampled_from(["end", "eager", "eager-opt"]),
    ),
)
small = st.integers(0, 2000)
profiles = st.builds(
    lambda forward, backward, size, link, reduce, step, dispatch: Profile(
        "drawn",
        (LayerCost("s", (SizeCost(1, forward, backward, boundary_bytes=size, forward_spread=0.1),), parameters=9),),
        per_stage=True,
        links={"local": link},
        all_reduce=AllReduceCost(latency_ns=reduce),
        optimizer=OptimizerCost(constant_ns=step),
        overheads=Overheads(dispatch_ns=dispatch, iteration_ns=dispatch),
    ),
    small,
    small,
    small,
    st.builds(LinkCost, small, st.just(1e9), st.integers(0, 99), st.integers(0, 99), st.booleans()),
    small,
    small,
    st.integers(0, 99),
)


@settings(max_examples=examples(150), deadline=None)
@given(schedules, profiles, st.integers(1, 3))
def test_every_moment_is_identical(schedule: Schedule, profile: Profile, width: int) -> None:
    workload = Workload(lower(schedule, width=width), profile, Durations(schedule, profile), width)
    assert CompiledWorkload(workload).times() == reference.run(workload)


@settings(max_examples=examples(20), deadline=None)
@given(schedules, profiles)
def test_drawn_durations_give_identical_iterations(schedule: Schedule, profile: Profile) -> None:
    workload = Workload(lower(schedule), profile, Durations(schedule, profile))
    (drawn,) = draw(workload, 5, seed=3)
    expected = [reference.run(workload, as_rows(workload, row)).end_ns for row in drawn]
    assert CompiledWorkload(workload).iteration_ns(drawn).tolist() == expected


def test_the_front_door_gives_the_same_answer() -> None:
    schedule = build("chimera", stages=4, microbatches=8)
    profile, engines = Profile.uniform(p2p="1ms"), get_args(Engine)
    answers = [simulate(schedule, profile, engine=engine) for engine in ("simpy", "compiled", "auto")]
    assert {answer.engine for answer in answers} | {"auto"} == set(engines)
    assert [answer.engine for answer in answers] == ["simpy", "compiled", "compiled"]
    assert answers[0].timeline == answers[1].timeline == answers[2].timeline


def test_shared_nics_are_refused_with_the_reason() -> None:
    profile = replace(
        Profile.uniform(),
        links={"same_node": LinkCost(), "other_node": LinkCost()},
        topology=Topology(devices_per_node=1, shared_nic=True),
    )
    schedule = build("dapple", stages=2, microbatches=2)
    with pytest.raises(InputError, match="share a NIC"):
        simulate(schedule, profile, engine="compiled")
    assert simulate(schedule, profile, engine="auto").engine == "simpy"


def test_a_deadlock_is_the_reference_engines() -> None:
    schedule = build("gpipe", stages=1, microbatches=1)
    rows = (tuple(reversed(schedule.actions[0])),)
    with pytest.raises(DeadlockError, match="0B0 waits for 0F0"):
        simulate(Plan(replace(schedule, actions=rows), rows, ()), Profile.uniform(), engine="compiled")


def test_no_samples_no_times() -> None:
    schedule = build("gpipe", stages=2, microbatches=2)
    workload = Workload(lower(schedule), Profile.uniform(), Durations(schedule, Profile.uniform()))
    assert CompiledWorkload(workload).iteration_ns(np.zeros((0, 8), np.int64)).size == 0
