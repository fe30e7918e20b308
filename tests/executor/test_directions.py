"""Each replica's messages travel in a process group of their own: real ranks, and what each of them hands to torch."""

from __future__ import annotations

from typing import Any

import pytest

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.ranks.launch import launch
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import MLP, config_dict
from chimera.pipeline.schedules import build

pytestmark = pytest.mark.multiprocess

MODEL = MLP("mlp", blocks=6, hidden=8, features=4, classes=4)
CHIMERA = build("chimera", stages=2, microbatches=4)
CASES = (
    Case("one direction", schedule_json(build("dapple", stages=2, microbatches=4)), 2),
    Case("chimera", schedule_json(CHIMERA), 2),
    Case("again", schedule_json(CHIMERA), 2),
    Case("two copies", schedule_json(CHIMERA), 2, 2),
    Case("handed over locally", schedule_json(build("data-parallel", stages=2, microbatches=4)), 2, 2),
)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of four ranks handed over; cases of two ranks leave the others idle."""
    job = Job(config_dict(MODEL), CASES, warmup=0, memory=False)
    output = tmp_path_factory.mktemp("directions")
    return launch("tests.executor.targets:channels", job.payload(), ranks=4, output=output, deadline_s=240)


def test_a_single_direction_keeps_torchs_own_group(ranks: list[dict[str, Any]]) -> None:
    assert {group for rank in ranks[:2] for _, _, group in rank["messages"]["one direction"]} == {-1}


def test_a_group_carries_all_messages_of_one_replica_and_no_other(ranks: list[dict[str, Any]]) -> None:
    # N = 4 micro-batches cross the one boundary there and back: a rank sends one of these and receives the other.
    for rank in ranks[:2]:
        carried = {(CHIMERA.replica_of[microbatch], group) for _, microbatch, group in rank["messages"]["chimera"]}
        assert len(rank["messages"]["chimera"]) == 8
        assert len(carried) == len({group for _, group in carried}) == CHIMERA.replicas == 2


def test_cases_of_one_launch_share_their_groups(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks[:2]:
        assert rank["messages"]["chimera"] == rank["messages"]["again"] == rank["messages"]["two copies"]


def test_every_copy_of_the_pipeline_has_groups_of_its_own(ranks: list[dict[str, Any]]) -> None:
    assert [rank["members"] for rank in ranks] == [[[0, 1]] * 2] * 2 + [[[2, 3]] * 2] * 2


def test_replicas_that_hand_over_locally_send_nothing(ranks: list[dict[str, Any]]) -> None:
    assert [rank["messages"]["handed over locally"] for rank in ranks] == [[]] * 4
