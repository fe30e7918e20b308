"""What a rank hands to torch: the order of the plan, one call a batch, and nobody waited for twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist

from chimera.executor.iteration.mail import Mail
from chimera.executor.ranks.clock import CpuClock
from chimera.pipeline.actions import Action, Kind

RECEIVED = [Action(1, Kind.RECV_F, number) for number in range(3)]
SENT = [Action(0, Kind.RECV_B, number) for number in range(3)]


class Work:
    """A request that notes its waits."""

    def __init__(self) -> None:
        self.waits = 0

    def wait(self) -> None:
        self.waits += 1


class Batches:
    """In place of `batch_isend_irecv`: what it was given, and what it answered."""

    def __init__(self, works_of: int | None) -> None:
        self.given: list[list[tuple[str, int]]] = []
        self.works: list[list[Work]] = []
        self._works_of = works_of

    def __call__(self, operations: list[Any]) -> list[Work]:
        self.given.append([(operation.op, operation.peer) for operation in operations])
        self.works.append([Work() for _ in range(self._works_of or len(operations))])
        return self.works[-1]


def _mail(monkeypatch: pytest.MonkeyPatch, works_of: int | None = None) -> tuple[Mail, Batches]:
    batches = Batches(works_of)
    monkeypatch.setattr(dist, "batch_isend_irecv", batches)

    class Operation:
        def __init__(self, op: Callable[..., Any], tensor: torch.Tensor, peer: int, group: object) -> None:
            self.op, self.peer = op.__name__, peer

    monkeypatch.setattr(dist, "P2POp", Operation)
    return Mail(CpuClock(), range(4, 8), torch.device("cpu"), torch.float32, batched=True), batches


def test_a_batch_is_one_call_in_the_order_of_the_plan_with_global_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    mail, batches = _mail(monkeypatch)
    mail.send(SENT[0], 1, torch.zeros(2))
    mail.post(RECEIVED[0], 1, (2,))
    mail.send(SENT[1], 1, torch.zeros(2))
    assert batches.given == []
    mail.flush()
    assert batches.given == [[("isend", 5), ("irecv", 5), ("isend", 5)]]


def test_a_batch_waits_until_the_one_before_it_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    mail, batches = _mail(monkeypatch)
    mail.post(RECEIVED[0], 0, (2,))
    mail.send(SENT[0], 0, torch.zeros(2))
    mail.flush()
    assert [work.waits for work in batches.works[0]] == [0, 0]
    mail.post(RECEIVED[1], 0, (2,))
    mail.flush()
    assert [work.waits for work in batches.works[0]] == [1, 1]


def test_no_message_is_waited_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    mail, batches = _mail(monkeypatch)
    mail.post(RECEIVED[0], 0, (2,))
    mail.send(SENT[0], 0, torch.zeros(2))
    mail.flush()
    mail.take(RECEIVED[0])
    mail.release(SENT[0])
    mail.post(RECEIVED[1], 0, (2,))
    mail.flush()
    mail.take(RECEIVED[1])
    mail.finish(lambda note: None)
    assert [work.waits for works in batches.works for work in works] == [1, 1, 1]


def test_one_answer_for_a_whole_batch_serves_each_of_its_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    # NCCL coalesces a batch into one request, gloo gives one a message.
    mail, batches = _mail(monkeypatch, works_of=1)
    mail.post(RECEIVED[0], 0, (2,))
    mail.send(SENT[0], 0, torch.zeros(2))
    mail.flush()
    mail.take(RECEIVED[0])
    mail.finish(lambda note: None)
    assert batches.works[0][0].waits == 2
