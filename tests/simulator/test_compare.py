"""Several schedules compared: the same answer whoever predicts, in the order given, with what only all together say."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import pytest

from chimera.pipeline.errors import DeadlockError, InputError, UnknownNameError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build, catalogue
from chimera.simulator import Prediction, Profile, simulate
from chimera.simulator.costs.profile import LayerCost, SizeCost
from chimera.simulator.predicting import compare as comparing
from chimera.simulator.predicting.compare import compare
from chimera.simulator.predicting.comparison import Comparison
from chimera.simulator.predicting.competitors import competitors
from chimera.simulator.predicting.conditions import Conditions

UNIFORM = Profile.uniform(forward="1ms", backward="2ms")
NAMES = ["gpipe", "dapple", "pipedream", "chimera"]
COST = SizeCost(1, 10**6, 2 * 10**6, forward_spread=0.1, backward_spread=0.1, activation_bytes=100)
SIZED = Profile("sized", (LayerCost("stage", (COST,), parameter_bytes=1000),), per_stage=True)
EVERYTHING = Conditions(width=2, slow_devices={1: 1.5}, samples=20, seed=3, capacity_bytes=1500)


def sized(names: list[str] = NAMES, **others: Any) -> Comparison:
    return compare(names, SIZED, EVERYTHING, stages=4, microbatches=4, **others)


def document(comparison: Comparison) -> str:
    return json.dumps([[each.as_json() for each in comparison], comparison.records(), comparison.chances()])


class Recorded(Executor):
    """Any executor will do: this one only submits, and does the last thing first."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append(len(pickle.dumps((function, arguments))))
        future.set_result(function(*arguments, **named))
        return future


def test_worker_processes_say_the_same_bytes() -> None:
    one = sized()
    with ProcessPoolExecutor(2, get_context("forkserver")) as pool:
        other = sized(executor=pool)
    assert other == one
    assert document(other) == document(one)
    assert pickle.dumps(other) == pickle.dumps(one)


def test_any_executor_will_do() -> None:
    recorded = Recorded()
    assert sized(executor=recorded) == sized()
    assert len(recorded.calls) == len(NAMES)
    with ThreadPoolExecutor(2) as threads:
        assert sized(executor=threads) == sized()


def test_long_work_goes_to_a_process_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    class Pool(Recorded):
        def __init__(self, workers: int, context: Any, *_: Any) -> None:
            super().__init__()
            assert context.get_start_method() in ("forkserver", "spawn")
            started.append(workers)

    monkeypatch.setattr(comparing, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    short = sized()
    assert not started
    monkeypatch.setattr(comparing, "_POOL_FROM_S", 0.0)
    assert sized() == short and sized(["gpipe", "dapple"]) == compare(
        ["gpipe", "dapple"], SIZED, EVERYTHING, stages=4, microbatches=4
    )
    assert started == [3, 2, 2]  # never more workers than rows
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    sized()
    assert len(started) == 3


def test_every_row_is_the_prediction_of_simulate() -> None:
    schedules = [build(name, stages=4, microbatches=4) for name in NAMES]
    for prediction, schedule in zip(compare(schedules, SIZED, EVERYTHING), schedules, strict=True):
        alone = simulate(schedule, SIZED, EVERYTHING)
        assert prediction == alone
        assert prediction.timeline == alone.timeline and prediction.steady_state == alone.steady_state


def test_rows_stand_in_the_order_given_and_come_as_they_are_ready() -> None:
    rows: dict[int, Prediction] = {}
    comparison = compare(NAMES, UNIFORM, stages=4, microbatches=8, on_row=rows.__setitem__)
    assert [each.schedule.name for each in comparison] == NAMES
    assert [rows[place] for place in range(len(NAMES))] == list(comparison)


def test_the_ranking_is_by_iteration_and_keeps_the_order_of_equals() -> None:
    """(N + D - 1)(F + B) for GPipe and DAPPLE; Chimera is D/2 - 1 bubbles of each kind shorter (paper, table 2)."""
    comparison = compare(["gpipe", "chimera", "dapple"], UNIFORM, stages=4, microbatches=4)
    assert [each.schedule.name for each in comparison.ranking] == ["chimera", "gpipe", "dapple"]
    assert comparison.best is comparison[1] and comparison.places == (1, 0, 2)
    assert [record["rank"] for record in comparison.records()] == [1, 2, 3]


def test_without_names_all_that_admit_the_depth_compete() -> None:
    comparison = compare(None, UNIFORM, stages=3, microbatches=3)
    names = {item.name for item in catalogue() if not item.reads_file}
    assert {each.schedule.name for each in comparison} | {item.schedule for item in comparison.left_out} == names
    assert "chimera" in {item.schedule for item in comparison.left_out}  # needs an even number of devices
    assert comparison == compare([], UNIFORM, stages=3, microbatches=3)


def test_values_plans_and_names_may_be_mixed() -> None:
    schedule = build("dapple", stages=4, microbatches=4)
    comparison = compare([lower(schedule), "gpipe", schedule], UNIFORM, stages=4, microbatches=4)
    assert comparison.labels == ("dapple (1)", "gpipe", "dapple (3)")
    assert comparison[0].plan == lower(schedule) and comparison[2].plan is None


def test_several_depths_stand_in_the_labels_and_need_layers() -> None:
    layered = Profile("layers", tuple(LayerCost(f"{i}", (COST,)) for i in range(8)))
    comparison = compare(["dapple", "chimera"], layered, Conditions(partition="count"), stages=[2, 3], microbatches=6)
    assert comparison.labels == ("dapple D=2", "dapple D=3", "chimera D=2")
    assert [each.conditions.partition for each in comparison] == [(4, 4), (2, 3, 3), (4, 4)]
    assert [item.stages for item in comparison.left_out] == [3]
    with pytest.raises(InputError, match="2, 3 devices with costs of equal stages"):
        compare(["dapple"], UNIFORM, stages=[2, 3], microbatches=6)


def test_draws_are_common_so_that_the_same_schedule_ties() -> None:
    """The same schedule twice meets the same draws: half of them each, and they share what they win of a third."""
    schedule = build("dapple", stages=2, microbatches=4)
    comparison = compare([schedule, schedule, build("gpipe", stages=2, microbatches=4)], SIZED, EVERYTHING)
    assert comparison.chance(0, 1) == 0.5
    chances = comparison.chances()
    for ours, others in chances.items():
        for theirs, chance in others.items():
            assert chance + chances[theirs][ours] == 1.0
    assert compare([schedule], UNIFORM).chances() == {}


def test_who_exceeds_the_capacity_is_named() -> None:
    """Weights, gradients (4 bytes each of no parameters) and 100 bytes a stored activation: GPipe stores all N."""
    comparison = compare(["gpipe", "dapple"], SIZED, Conditions(capacity_bytes=1300), stages=2, microbatches=4)
    assert [each.schedule.name for each in comparison.exceeding()] == ["gpipe"]
    assert comparison.out_of_memory[1] is None
    who = comparison.out_of_memory[0]
    assert who is not None and (who.held_bytes, who.capacity_bytes, who.device) == (1400, 1300, 0)
    assert {record["schedule"]: record["fits_capacity"] for record in comparison.records()} == {
        "gpipe": False,
        "dapple": True,
    }


def test_a_comparison_is_a_value() -> None:
    comparison = sized()
    assert pickle.loads(pickle.dumps(comparison)) == comparison == sized()
    assert comparison != sized(NAMES[1:])
    assert "\n" not in repr(comparison) and len(repr(comparison)) < 160 and "is fastest with" in repr(comparison)
    records = comparison.records()
    assert all(isinstance(value, str | int | float | None) for record in records for value in record.values())
    assert {frozenset(record) for record in records} == {frozenset(records[0])}


def test_conditions_and_keywords_ask_the_same() -> None:
    schedule = build("chimera", stages=4, microbatches=4)
    conditions = Conditions(width=2, semantics="batched", slow_devices={0: 2.0})
    keywords: dict[str, Any] = {"width": 2, "semantics": "batched", "slow_devices": {0: 2.0}}
    assert simulate(schedule, UNIFORM, conditions) == simulate(schedule, UNIFORM, **keywords)
    assert simulate(schedule, UNIFORM, conditions, width=1) == simulate(schedule, UNIFORM, **{**keywords, "width": 1})


@pytest.mark.parametrize(
    ("schedules", "others", "error", "words"),
    [
        (["dapple"], {}, InputError, "names without stages"),
        (["dapple"], {"stages": 2}, InputError, "names without microbatches"),
        (["daple"], {"stages": 2, "microbatches": 2}, UnknownNameError, "dapple"),
        (["chimera"], {"stages": 3, "microbatches": 2}, InputError, "even number"),
        ("dapple", {"stages": 2, "microbatches": 2}, InputError, "is not several"),
        ([3], {}, InputError, "neither a schedule nor a plan"),
    ],
)
def test_what_cannot_be_compared_is_refused(schedules: Any, others: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        compare(schedules, UNIFORM, **others)


def test_conditions_of_another_kind_are_refused() -> None:
    with pytest.raises(InputError, match="are no Conditions"):
        simulate(build("gpipe", stages=2, microbatches=2), UNIFORM, {"width": 2})  # type: ignore[arg-type]


def test_a_deadlock_in_a_worker_is_told_as_it_is_here() -> None:
    sound = build("gpipe", stages=2, microbatches=2)
    stuck: Schedule = replace(sound, actions=(tuple(reversed(sound.actions[0])), sound.actions[1]))
    plan = lower(sound)
    literal = replace(plan, schedule=stuck, actions=(tuple(reversed(plan.actions[0])), plan.actions[1]))
    told: list[str] = []
    with ProcessPoolExecutor(1, get_context("forkserver")) as pool:
        for executor in (None, pool):
            with pytest.raises(DeadlockError) as caught:
                compare([literal], UNIFORM, executor=executor)
            told.append(str(caught.value))
    assert told[0] == told[1]


def test_options_reach_those_that_are_built() -> None:
    found = competitors(["chimera"], 8, 8, lambda item: {"pairs": 2})
    assert found.schedules[0].replicas == 4
