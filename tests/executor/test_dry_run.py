"""Every rank of a plan in one process: what is handed to torch has a counterpart, and counts are the formulas'."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from chimera.executor.dry_run import dry_run
from chimera.executor.dry_run.counterparts import refuse_mismatch
from chimera.executor.iteration.mail import Handed
from chimera.executor.modules import build_layers
from chimera.pipeline.actions import COMMUNICATION, Action, Kind, Step
from chimera.pipeline.errors import InputError, RunError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.models import GPT, layers
from chimera.pipeline.rules import peer_of
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build, catalogue
from chimera.pipeline.setting import Setting

MODEL = GPT("gpt", blocks=6, hidden=16, heads=2, sequence=8, vocabulary=32)


def setting(microbatch_size: int, width: int = 1) -> Setting:
    return Setting.of(MODEL, stages=1, microbatch_size=microbatch_size, width=width)


PARAMETERS = sum(
    parameter.numel()
    for layer in build_layers(MODEL, range(len(layers(MODEL))), seed=0, dtype=torch.float32)
    for parameter in layer.parameters()
)
"""counted by torch"""


@pytest.mark.parametrize("width", [1, 2])
def test_every_microbatch_crosses_every_boundary_twice_in_every_copy(width: int) -> None:
    found = dry_run(build("chimera", stages=4, microbatches=8), setting(3, width))
    # N = 8 micro-batches, D - 1 = 3 boundaries, there and back; B x sequence x hidden floats of 4 bytes each
    assert sum(rank.sent for rank in found.ranks) == width * 2 * 8 * 3
    assert {rank.sent_bytes for rank in found.ranks} == {rank.sent * 3 * 8 * 16 * 4 for rank in found.ranks}
    assert sum(rank.received_bytes for rank in found.ranks) == sum(rank.sent_bytes for rank in found.ranks)


def test_chimera_holds_two_replicas_whose_stages_are_all_reduced_in_pairs() -> None:
    found = dry_run(build("chimera", stages=4, microbatches=4), setting(1))
    assert sum(rank.parameters for rank in found.ranks) == 2 * PARAMETERS
    assert all(rank.all_reduces == 2 and rank.all_reduced_bytes == 4 * rank.parameters for rank in found.ranks)
    assert found.groups == 5  # of devices 0 and 3, of 1 and 2, of all; of all for the messages of each direction


@pytest.mark.parametrize("batched", [False, True])
def test_every_schedule_walks_through_every_rank(batched: bool) -> None:
    names = [entry.name for entry in catalogue() if not entry.reads_file]
    walked = []
    for name in names:
        for microbatches in (4, 8):
            try:
                schedule = build(name, stages=4, microbatches=microbatches)
                walked.append(dry_run(schedule, setting(2), batched=batched).schedule)
            except InputError:
                continue  # not admissible, or more stages than the model has layers
    assert set(walked) == set(names)
    assert not dist.is_initialized()


def _channel(step: Step, schedule: Schedule) -> tuple[int, int] | None:
    """(peer, direction) of a message."""
    if not isinstance(step, Action) or step.kind not in COMMUNICATION:
        return None
    return peer_of(step, schedule), schedule.replica_of[step.microbatch]


def test_messages_that_stand_together_and_have_one_peer_and_direction_go_out_in_one_batch() -> None:
    schedule = build("chimera", stages=4, microbatches=8)
    plan = rendezvous_safe(lower(schedule))
    groups = [
        sum(channel is not None for channel, _ in groupby(_channel(step, schedule) for step in row))
        for row in plan.actions
    ]
    found = dry_run(schedule, setting(1), batched=True)
    assert [rank.batches for rank in found.ranks] == groups
    assert sum(groups) < sum(rank.sent + rank.received for rank in found.ranks)


def _handed(receive: Action, sending: bool, peer: int, size: int = 64) -> Handed:
    return Handed(receive, sending, peer, size, 0)


FIRST, SECOND = Action(1, Kind.RECV_F, 0), Action(1, Kind.RECV_F, 1)
SENT = [_handed(FIRST, True, 1), _handed(SECOND, True, 1)]


@pytest.mark.parametrize(
    ("received", "said"),
    [
        ([SECOND, FIRST], r"message 0 from rank 0 to rank 1 is 1RECV_F0 of 64 bytes: rank 1 expects 1RECV_F1"),
        ([FIRST], r"2 messages from rank 0 to rank 1: rank 1 receives 1"),
        ([], r"2 messages from rank 0 to rank 1: rank 1 receives 0"),
    ],
)
def test_a_message_without_counterpart_is_named(received: list[Action], said: str) -> None:
    with pytest.raises(RunError, match=said):
        refuse_mismatch([SENT, [_handed(action, False, 0) for action in received]])


def test_a_message_of_another_size_is_named() -> None:
    with pytest.raises(RunError, match=r"of 64 bytes: rank 1 expects 1RECV_F1 of 32 bytes"):
        refuse_mismatch([SENT, [_handed(FIRST, False, 0), _handed(SECOND, False, 0, 32)]])


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dry_run(build("dapple", stages=2, microbatches=2), setting(1))
    assert list(tmp_path.iterdir()) == []
