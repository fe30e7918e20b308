"""What calibration may look at: never a configuration that is judged."""

from hypothesis import given
from hypothesis import strategies as st

from chimera.calibration.measuring.short_runs import calibration_schedules
from chimera.pipeline.actions import Kind
from chimera.pipeline.schedules import build


@given(st.integers(1, 8), st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_no_calibration_run_repeats_a_judged_configuration(stages: int, counts: list[int]) -> None:
    names = ["gpipe", "dapple"] + ["chimera"] * (stages % 2 == 0)
    judged = [build(name, stages=stages, microbatches=count) for name in names for count in counts]
    runs = calibration_schedules(stages, judged).values()
    assert {item.name for item in runs} == set(names)  # nothing judged here splits its backward
    assert not {(item.name, item.microbatches) for item in runs} & {(item.name, item.microbatches) for item in judged}


def test_a_split_backward_is_calibrated_where_it_is_judged() -> None:
    assert "calibration-zb-h1" in calibration_schedules(2, [build("zb-h1", stages=2, microbatches=8)])
    assert "calibration-zb-h1" not in calibration_schedules(2, [build("dapple", stages=2, microbatches=8)])
    assert "calibration-zb-h1" in calibration_schedules(2)  # a profile is for any schedule


@given(st.integers(1, 8))
def test_every_stage_and_device_gets_warm(stages: int) -> None:
    # Measured: computations are up to half as long again until their stage has done three of them
    for label, schedule in calibration_schedules(stages, [build("dapple", stages=stages, microbatches=8)]).items():
        assert schedule.microbatches // schedule.replicas >= (5 if schedule.replicas == 1 else 3), label


def test_recomputation_is_calibrated_where_it_is_judged() -> None:
    judged = build("dapple", stages=2, microbatches=5, recompute="all")
    run = calibration_schedules(2, [judged])["calibration-recomputing"]
    assert run.recompute and (run.name, run.microbatches) == ("dapple", 6)  # 5 are judged
    assert "calibration-recomputing" not in calibration_schedules(2, [build("dapple", stages=2, microbatches=8)])
    assert "calibration-recomputing" in calibration_schedules(2)


@given(st.integers(1, 8))
def test_a_profile_for_any_schedule_is_calibrated_with_all_kinds_of_computation(stages: int) -> None:
    runs = calibration_schedules(stages).values()
    shown = {part.kind for item in runs for row in item.actions for action in row for part in action.parts}
    assert shown == {Kind.F, Kind.B, Kind.I, Kind.W}
    assert any(item.replicas > 1 for item in runs) == (stages % 2 == 0)  # Chimera wants an even depth


@given(st.integers(1, 8), st.integers(1, 20))
def test_calibration_runs_have_as_many_devices_as_what_is_judged(stages: int, microbatches: int) -> None:
    judged = build("dapple", stages=stages, microbatches=microbatches)
    assert {item.devices for item in calibration_schedules(stages, [judged]).values()} == {stages}


def test_calibration_is_short() -> None:
    # About three times as many micro-batches as devices: what costs more than that leaves fewer rounds to a budget
    for stages in range(1, 9):
        for label, item in calibration_schedules(stages).items():
            assert item.microbatches <= max(3 * stages, 6), label
