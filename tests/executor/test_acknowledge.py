"""A message may be let go once something the peer sent afterwards has come back; worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chimera.executor.iteration.acknowledge import acknowledgements
from chimera.executor.iteration.inspection import message_of
from chimera.pipeline.actions import Action
from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Plan
from chimera.pipeline.schedules import build, catalogue


def _texts(found: dict[Action, tuple[Action, ...]]) -> dict[str, list[str]]:
    return {str(receive): [str(own) for own in owns] for receive, owns in found.items()}


def test_gpipes_first_gradient_proves_that_every_forward_message_has_arrived() -> None:
    # Device 1 runs 1F0 1F1 1F2 before it sends anything back.
    plan = lower(build("gpipe", stages=2, microbatches=3))
    assert _texts(acknowledgements(plan, 0)) == {"0RECV_B0": ["1RECV_F0", "1RECV_F1", "1RECV_F2"]}


def test_in_1f1b_each_gradient_proves_one_forward_message() -> None:
    # Device 1 runs 1F0 1B0 1F1 1B1 1F2 1B2.
    plan = lower(build("dapple", stages=2, microbatches=3))
    expected = {f"0RECV_B{m}": [f"1RECV_F{m}"] for m in range(3)}
    assert _texts(acknowledgements(plan, 0)) == expected


def test_the_last_stage_gets_no_answer_to_its_last_gradient() -> None:
    # Device 0 runs 0F0 0F1 0B0 0F2 0B1 0B2: of the gradients only 0's is taken before 0F2 is sent.
    plan = lower(build("dapple", stages=2, microbatches=3))
    assert _texts(acknowledgements(plan, 1)) == {"1RECV_F2": ["0RECV_B0"]}


def _plans() -> Iterator[Plan]:
    for entry in catalogue():
        for microbatches in (4, 8, 12):
            try:
                yield lower(build(entry.name, stages=4, microbatches=microbatches))
            except InputError:
                continue


@pytest.mark.parametrize("plan", list(_plans()), ids=lambda plan: f"{plan.schedule.name}-N{plan.schedule.microbatches}")
def test_every_acknowledged_message_is_an_own_one_and_acknowledged_once(plan: Plan) -> None:
    for device, row in enumerate(plan.actions):
        sent = {message_of(a, plan.schedule).receive for a in row if isinstance(a, Action) and "SEND" in a.kind}
        received = {a for a in row if "RECV" in a.kind}
        found = acknowledgements(plan, device)
        released = [own for owns in found.values() for own in owns]
        assert set(found) <= received and set(released) <= sent
        assert len(released) == len(set(released))
