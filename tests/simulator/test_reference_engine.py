"""The reference engine and the direct one find the same moments, whatever contends; what only its parts promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import simpy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import DeadlockError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, simulate
from chimera.simulator.costs.profile import (
    AllReduceCost,
    LayerCost,
    LinkCost,
    OptimizerCost,
    Overheads,
    SizeCost,
    Topology,
)
from chimera.simulator.engines import reference as package
from chimera.simulator.engines.choice import Engine
from chimera.simulator.engines.direct import engine as direct
from chimera.simulator.engines.exchanges import TRANSPORTS, Transport
from chimera.simulator.engines.reference import device as reference
from chimera.simulator.engines.reference.moment import Moment
from chimera.simulator.predicting.conditions import Conditions, unrolled_workload, workload_under
from chimera.simulator.workload.contention import contention
from chimera.simulator.workload.workload import Workload
from tests.strategies import schedules

# Multiples of a hundred and zero: much happens at one moment, and who comes first must be settled by the rule.
ties = st.sampled_from([0, 0, 100, 100, 200, 300, 1000])
numbers = st.one_of(ties, st.integers(0, 2000))
bandwidths = st.one_of(st.none(), st.sampled_from([1e9, 1e10]), st.floats(1e8, 1e10))
slowdowns = st.sampled_from([1.0, 1.0, 1.25, 1.3])


@st.composite
def links(draw: st.DrawFn) -> LinkCost:
    return LinkCost(
        latency_ns=draw(numbers),
        bandwidth_bytes_per_s=draw(bandwidths),
        send_overhead_ns=draw(ties),
        receive_overhead_ns=draw(ties),
        queueing=draw(st.booleans()),
        half_duplex=draw(st.booleans()),
    )


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Whatever a profile can say about time: links of two classes, NICs, cores, slowdowns, host time."""
    cost = SizeCost(
        1,
        forward_ns=draw(numbers),
        backward_ns=draw(numbers),
        backward_input_ns=draw(numbers),
        backward_weight_ns=draw(numbers),
        boundary_bytes=draw(st.sampled_from([0, 100, 1000])),
    )
    nodes = draw(st.one_of(st.none(), st.integers(1, 4)))
    names = ["local"] if nodes is None else ["same_node", "other_node"]
    return Profile(
        "any",
        (LayerCost("stage", (cost,), parameters=10, parameter_bytes=40),),
        per_stage=True,
        links={name: draw(links()) for name in names},  # type: ignore[misc]
        topology=Topology(devices_per_node=nodes, shared_nic=nodes is not None and draw(st.booleans())),
        all_reduce=AllReduceCost(
            latency_ns=draw(numbers),
            bandwidth_bytes_per_s=draw(bandwidths),
            compute_slowdown=draw(slowdowns),
            reduce_slowdown=draw(slowdowns),
        ),
        optimizer=OptimizerCost(constant_ns=draw(ties)),
        overheads=Overheads(dispatch_ns=draw(ties), iteration_ns=draw(ties)),
        cores=draw(st.one_of(st.none(), st.none(), st.integers(1, 6))),
    )


@settings(max_examples=250, deadline=None)
@given(
    schedules(max_stages=6, max_microbatches=8),
    profiles(),
    st.sampled_from(TRANSPORTS),
    st.sampled_from(["early", "late"]),
    st.integers(1, 3),
)
def test_both_find_the_same_moments(
    schedule: Schedule, profile: Profile, semantics: Transport, receives: Any, width: int
) -> None:
    workload = workload_under(schedule, profile, Conditions(width=width, semantics=semantics, receives=receives))
    assert reference.run(workload, None, semantics) == direct.run(workload, None, semantics)


@st.composite
def anywhere(draw: st.DrawFn) -> Schedule:
    """Replicas whose stages stand on any devices, so that all-reduce groups share some of their members.

    All forwards stage by stage, then all backwards: one order of everything, so that nobody waits for ever.
    """
    stages, replicas = draw(st.integers(2, 5)), draw(st.integers(2, 3))
    microbatches = replicas * draw(st.integers(1, 2))
    devices = stages + draw(st.integers(0, 1))
    placement = tuple(tuple(draw(st.permutations(range(devices)))[:stages]) for _ in range(replicas))
    order = [Action(stage, Kind.F, m) for stage in range(stages) for m in range(microbatches)]
    order += [Action(stage, Kind.B, m) for stage in reversed(range(stages)) for m in range(microbatches)]
    rows: list[list[Action]] = [[] for _ in range(devices)]
    for action in order:
        rows[placement[action.microbatch % replicas][action.stage]].append(action)
    return Schedule(
        "anywhere",
        stages=stages,
        devices=devices,
        microbatches=microbatches,
        placement=placement,
        replica_of=tuple(m % replicas for m in range(microbatches)),
        actions=tuple(map(tuple, rows)),
        sync=draw(st.sampled_from(["end", "eager"])),
    )


@settings(max_examples=150, deadline=None)
@given(anywhere(), profiles(), st.sampled_from(TRANSPORTS), st.integers(1, 2))
def test_they_agree_on_all_reduces_of_groups_that_overlap(
    schedule: Schedule, profile: Profile, semantics: Transport, width: int
) -> None:
    """Who reduces first where several are ready at one moment is decided at its end."""
    workload = workload_under(schedule, profile, Conditions(width=width, semantics=semantics))
    assert reference.run(workload, None, semantics) == direct.run(workload, None, semantics)


def test_of_all_reduces_ready_at_one_moment_the_lower_stage_starts_first() -> None:
    """Stages 0 on devices 0 and 1, 1 on 2 and 0, 2 on 1 and 2: any two share a device, all are ready at one moment."""
    placement = ((0, 2, 1), (1, 0, 2))
    order = [Action(s, Kind.F, m) for s in range(3) for m in range(2)]
    order += [Action(s, Kind.B, m) for s in (2, 1, 0) for m in range(2)]
    rows = [tuple(a for a in order if placement[a.microbatch][a.stage] == device) for device in range(3)]
    schedule = Schedule("ring", 3, 3, 2, placement, (0, 1), tuple(rows))
    cost = SizeCost(1, forward_ns=0, backward_ns=0)
    profile = Profile("p", (LayerCost("stage", (cost,)),), per_stage=True, all_reduce=AllReduceCost(latency_ns=100))
    workload = workload_under(schedule, profile, Conditions())
    assert contention(workload) is not None
    for engine in (reference, direct):
        spans = {
            collective.action.stage: span
            for collective, span in zip(workload.collectives, engine.run(workload).reduces, strict=True)
        }
        assert [spans[stage][0] for stage in range(3)] == [0, 200, 400]  # a ring of two takes 2 (n - 1) = 2 latencies


def _outcome(engine: Any, workload: Workload, semantics: Transport) -> Any:
    try:
        return engine.run(workload, None, semantics)
    except DeadlockError as error:
        return str(error), error.device, error.position


@settings(max_examples=100, deadline=None)
@given(
    schedules(max_stages=5, max_microbatches=6),
    profiles(),
    st.sampled_from(TRANSPORTS),
    st.data(),
)
def test_they_get_stuck_at_the_same_place_and_say_the_same(
    schedule: Schedule, profile: Profile, semantics: Transport, data: st.DataObject
) -> None:
    """A plan taken literally, one device of which does two things in the wrong order."""
    plan = lower(schedule)
    device = data.draw(st.integers(0, len(plan.actions) - 1))
    row = list(plan.actions[device])
    assume(len(row) > 1)
    first, second = sorted(data.draw(st.lists(st.integers(0, len(row) - 1), min_size=2, max_size=2, unique=True)))
    row[first], row[second] = row[second], row[first]
    rows = (*plan.actions[:device], tuple(row), *plan.actions[device + 1 :])
    workload = workload_under(Plan(schedule, rows, plan.order), profile, Conditions())
    assert _outcome(reference, workload, semantics) == _outcome(direct, workload, semantics)


@settings(max_examples=30, deadline=None)
@given(schedules(("pipedream", "pipedream-2bw"), max_stages=5, max_microbatches=6), profiles(), st.integers(1, 2))
def test_they_agree_on_iterations_back_to_back(schedule: Schedule, profile: Profile, width: int) -> None:
    workload = unrolled_workload(schedule, 3, profile, Conditions(width=width))
    assert reference.run(workload) == direct.run(workload)


@pytest.mark.parametrize(("engine", "answers"), [(None, "direct"), ("auto", "compiled"), ("simpy", "reference")])
def test_who_answers_for_which_name(monkeypatch: pytest.MonkeyPatch, engine: Engine | None, answers: str) -> None:
    """Both interpreters of events stand under the name simpy in what is printed."""
    asked: list[str] = []
    for name, module in (("direct", direct), ("reference", reference)):
        run = module.run

        def _noted(*arguments: Any, name: str = name, run: Any = run, **named: Any) -> Any:
            asked.append(name)
            return run(*arguments, **named)

        monkeypatch.setattr(module, "run", _noted)
    prediction = simulate(build("gpipe", stages=2, microbatches=2), Profile.uniform(), engine=engine)
    assert set(asked or ["compiled"]) == {answers}
    assert prediction.engine == ("compiled" if answers == "compiled" else "simpy")


@pytest.mark.parametrize("jitter", [0, 20])
def test_draws_and_steady_states_come_from_the_engine_that_was_asked(jitter: int) -> None:
    cost = SizeCost(1, 1000, 2000, forward_spread=0.1)
    profile = Profile("jitter", (LayerCost("stage", (cost,)),), per_stage=True)
    schedule = build("pipedream", stages=3, microbatches=4)
    predictions = [simulate(schedule, profile, samples=jitter, engine=engine) for engine in (None, "simpy", "auto")]
    assert predictions[0].draws_ns == predictions[1].draws_ns == predictions[2].draws_ns
    assert predictions[0].steady_state == predictions[1].steady_state == predictions[2].steady_state


def test_decisions_wait_for_the_end_of_their_moment_and_those_of_a_lower_turn_for_all_before() -> None:
    env = simpy.Environment()
    moment = Moment(env)
    done: list[tuple[float, str]] = []

    def _start(more: bool) -> None:
        done.append((env.now, "starts"))
        if more:
            env.process(_acts("c", 0, False))

    def _acts(name: str, delay: int, more: bool) -> Any:
        yield env.timeout(delay)
        moment.at_its_end(1, lambda: done.append((env.now, "links")))
        moment.at_its_end(0, lambda: _start(more))
        yield env.timeout(0)
        done.append((env.now, name))

    env.process(_acts("a", 5, True))
    env.process(_acts("b", 5, True))
    env.run()
    assert done == [(5, "a"), (5, "b"), (5, "starts"), (5, "c"), (5, "starts"), (5, "links")]


def test_the_reference_uses_simpys_public_face_only() -> None:
    """No field of SimPy's own, which a new version may change."""
    for path in Path(package.__file__ or "").parent.glob("*.py"):
        text = path.read_text()
        assert not [
            word for word in ("env._", "._ok", "._value", ".schedule(", ".callbacks", "EventPriority") if word in text
        ]
