"""Files between us and torch.distributed.pipelining, both ways, with torch's real reader and generators.

Its parser, its validation, its lowering and its own deadlock simulation judge our files; our
checks judge the schedules it generates. No process is started.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chimera.pipeline.errors import ChimeraError, DeadlockError, InputError, ScheduleError
from chimera.pipeline.files.schedule_file import read_plan, read_schedule, schedule_csv
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.schedules import build, catalogue
from chimera.pipeline.soundness.check import check, check_plan

schedules = pytest.importorskip("torch.distributed.pipelining.schedules")


def stages_on(rank: int, devices: int, count: int, style: str = "loop") -> list[Any]:
    """Stand-ins for PipelineStage: what torch's constructors read of them."""
    indices = {
        "loop": range(rank, count, devices),
        "v": sorted({rank, count - 1 - rank}),
    }[style]
    return [
        SimpleNamespace(
            stage_index=index,
            num_stages=count,
            group_size=devices,
            group_rank=rank,
            is_last=index == count - 1,
            is_first=index == 0,
            has_backward=True,
            submod=SimpleNamespace(),
        )
        for index in indices
    ]


def torch_runtime(schedule: Schedule) -> Any:
    """torch's interpreter of CSV files, as it stands on rank 0."""
    return schedules._PipelineScheduleRuntime(
        stages_on(0, schedule.devices, schedule.stages), schedule.microbatches, loss_fn=lambda *_: 0
    )


def exportable() -> Sequence[object]:
    cases = []
    for item, devices, microbatches in product(catalogue(), (2, 4), (4, 8)):
        try:
            schedule = build(item.name, stages=devices, microbatches=microbatches)
            schedule_csv(schedule)
        except ChimeraError:  # cannot be built at this size, or torch cannot run it
            continue
        cases.append(pytest.param(schedule, id=f"{item.name}-{devices}-{microbatches}"))
    return cases


def as_text(order: dict[int, list[Any]]) -> list[str]:
    return [" ".join(str(action) for action in order[rank] if action is not None) for rank in sorted(order)]


@pytest.mark.parametrize("schedule", exportable())
def test_torch_loads_our_compute_order(schedule: Schedule, tmp_path: Path) -> None:
    path = tmp_path / "order.csv"
    path.write_text(schedule_csv(schedule))
    runtime = torch_runtime(schedule)
    runtime._load_csv(str(path), format="compute_only")
    assert as_text(runtime.pipeline_order) == [" ".join(map(str, row)) for row in schedule.actions]
    assert [runtime.stage_index_to_group_rank[stage] for stage in range(schedule.stages)] == list(schedule.placement[0])


@pytest.mark.parametrize("receives", ["early", "late", "safe"])
@pytest.mark.parametrize("schedule", exportable())
def test_torch_loads_our_plan(schedule: Schedule, receives: str, tmp_path: Path) -> None:
    plan = rendezvous_safe(lower(schedule)) if receives == "safe" else lower(schedule, receives=receives)  # type: ignore[arg-type]
    path = tmp_path / "plan.csv"
    path.write_text(schedule_csv(plan))
    runtime = torch_runtime(schedule)
    runtime._load_csv(str(path), format="compute_comms")
    assert as_text(runtime.pipeline_order_with_comms) == path.read_text().replace(",", " ").splitlines()
    if receives == "safe":
        assert_torch_simulates(runtime)
    for row in path.read_text().splitlines():
        for stage in {cell.split("F")[0] for cell in row.split(",") if cell.split("F")[0].isdigit()}:
            assert row.count(f"{stage}REDUCE_GRAD") == 1


def assert_torch_simulates(runtime: Any) -> None:
    """Its simulator, whose receives block like rendezvous, ends; it knows no REDUCE_GRAD and no overlapped pair."""
    rows = {
        rank: [action for action in row if str(action.computation_type.value) != "REDUCE_GRAD"]
        for rank, row in runtime.pipeline_order_with_comms.items()
    }
    if not any(action.sub_actions for row in rows.values() for action in row):
        schedules._simulate_comms_compute(rows, runtime.stage_index_to_group_rank.__getitem__, runtime._num_stages)


@pytest.mark.parametrize("schedule", exportable())
def test_we_load_what_torch_writes_after_lowering_our_order_itself(schedule: Schedule, tmp_path: Path) -> None:
    """Its own dump holds UNSHARD, RESHARD and REDUCE_GRAD and its own placement of receives."""
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    ours.write_text(schedule_csv(schedule))
    runtime = torch_runtime(schedule)
    runtime._load_csv(str(ours), format="compute_only")
    runtime._dump_csv(str(theirs), format="compute_comms")
    plan = read_plan(theirs)
    assert plan.schedule.actions == schedule.actions
    check_plan(plan)
    check_plan(rendezvous_safe(plan), "rendezvous")


GENERATORS = {
    "ScheduleInterleaved1F1B": "loop",
    "ScheduleLoopedBFS": "loop",
    "ScheduleInterleavedZeroBubble": "loop",
    "ScheduleZBVZeroBubble": "v",
    "ScheduleDualPipeV": "v",
}


def generated(name: str, devices: int, microbatches: int, *, defer: bool = False) -> Any:
    """A schedule generated by torch, with its lowering."""
    stages = stages_on(0, devices, 2 * devices, GENERATORS[name])
    return getattr(schedules, name)(stages, microbatches, loss_fn=lambda *_: 0, defer_pp_recv=defer)


def dump(runtime: Any, path: Path, kind: str) -> Path:
    runtime._dump_csv(str(path), format=kind)
    return path


@pytest.mark.parametrize("devices", [2, 3, 4])
@pytest.mark.parametrize("name", GENERATORS)
def test_the_schedules_torch_generates_are_sound(name: str, devices: int, tmp_path: Path) -> None:
    runtime = generated(name, devices, 2 * devices)
    schedule = read_schedule(dump(runtime, tmp_path / "order.csv", "compute_only"))
    check(schedule)
    assert schedule.stages == 2 * devices and schedule.microbatches == 2 * devices
    for plan in (lower(schedule), read_plan(dump(runtime, tmp_path / "plan.csv", "compute_comms"))):
        check_plan(plan)
        check_plan(rendezvous_safe(plan), "rendezvous")


def fate(plan: Plan) -> str:
    try:
        check_plan(plan, "rendezvous")
    except DeadlockError:
        return "deadlock"
    return "runs"


@pytest.mark.parametrize("devices", [2, 3, 4])
@pytest.mark.parametrize("name", GENERATORS)
def test_torchs_own_lowering_under_rendezvous(name: str, devices: int, tmp_path: Path) -> None:
    """Posting each receive when its send is scheduled is safe, for torch as for us."""
    runtime = generated(name, devices, 2 * devices)
    assert fate(read_plan(dump(runtime, tmp_path / "plan.csv", "compute_comms"))) == "runs"


@pytest.mark.parametrize(
    ("name", "devices", "semantics", "says"),
    [
        ("ScheduleInterleaved1F1B", 3, "rendezvous", "waits for"),
        ("ScheduleLoopedBFS", 4, "batched", "waits for"),
        ("ScheduleZBVZeroBubble", 4, "buffered", "messages of a pair keep their order"),
        ("ScheduleInterleavedZeroBubble", 2, "buffered", "messages of a pair keep their order"),
        ("ScheduleDualPipeV", 4, "buffered", "messages of a pair keep their order"),
    ],
)
def test_torchs_deferred_receives_are_not_safe(
    name: str, devices: int, semantics: str, says: str, tmp_path: Path
) -> None:
    """torch 2.13's `defer_pp_recv=True`: parity looks at one peer, and receives of one peer change their order.

    NCCL matches by order, not by tag, so the second kind hands a micro-batch the wrong tensor. A
    finding about the version installed: should it vanish, this test says so.
    """
    path = dump(generated(name, devices, 2 * devices, defer=True), tmp_path / "plan.csv", "compute_comms")
    with pytest.raises(ScheduleError, match=says):
        check_plan(read_plan(path), semantics)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["0F0,0F1junk,0B0,0B1\n", "0F0,0F0,0B0\n"])
def test_torch_accepts_what_we_refuse(text: str, tmp_path: Path) -> None:
    """The traps of its parser, still there in the version installed; should one vanish, say so here."""
    path = tmp_path / "lax.csv"
    path.write_text(text)
    for cell in text.strip().split(","):
        assert schedules._Action.from_str(cell) is not None
    with pytest.raises((InputError, ScheduleError)):
        read_schedule(path)
