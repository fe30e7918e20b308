"""Hanayo against its construction: waves over the devices, Chimera folded, a bubble that shrinks as 1/w."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.order import walk
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.soundness.check import check


def makespan(schedule: Schedule, forward: int, backward: int) -> int:
    def duration(action: Action) -> int:
        return forward if action.kind is Kind.F else backward

    return max(row[-1] for row in walk(schedule.actions, schedule.stages, duration).ends)


def test_a_wave_runs_to_the_last_device_and_back() -> None:
    schedule = build("hanayo", stages=3, microbatches=1, waves=2)
    assert schedule.placement == ((0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0),)
    assert (schedule.stages, schedule.devices) == (12, 3)


def test_small_order_by_hand() -> None:
    # Two devices, one wave: slots s + 2k and 7 - s + 2k for micro-batches k = 0, 1.
    schedule = build("hanayo", stages=2, microbatches=2, waves=1)
    assert [" ".join(map(str, row)) for row in schedule.actions] == [
        "0F0 0F1 3F0 3B0 3F1 3B1 0B0 0B1",
        "1F0 2F0 1F1 2F1 2B0 1B0 2B1 1B1",
    ]


@given(st.integers(1, 16), st.integers(1, 64), st.integers(1, 3))
def test_every_chunk_once_forward_and_once_backward_without_deadlock(devices: int, count: int, waves: int) -> None:
    schedule = build("hanayo", stages=devices, microbatches=count, waves=waves)
    check(schedule)
    found = sorted((str(action), device) for device, row in enumerate(schedule.actions) for action in row)
    turn = [*range(devices), *reversed(range(devices))] * waves
    assert found == sorted((f"{s}{k}{m}", d) for s, d in enumerate(turn) for k in "FB" for m in range(count))


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(0, 5))
def test_makespan_of_whole_units(devices: int, units: int, waves: int, forward: int, more: int) -> None:
    backward = forward + more
    schedule = build("hanayo", stages=devices, microbatches=units * devices, waves=waves)
    work = 2 * waves * devices * units * (forward + backward)
    # Chimera's C_f and C_b (SC'21, section 3.3) with D = 2p, N = 2pK cut in two, and waves - 1 turns of pure work
    bubble = (2 * devices - 2) * (units * backward - (units - 1) * forward)
    assert makespan(schedule, forward, backward) == work + bubble


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 5), st.integers(0, 5))
def test_one_wave_is_chimera_cut_in_two(devices: int, units: int, forward: int, more: int) -> None:
    # Section 3 of the paper: the two directions of Chimera over 2p devices become two copies over p each.
    folded = build("hanayo", stages=devices, microbatches=units * devices, waves=1)
    chimera = build("chimera", stages=2 * devices, microbatches=2 * units * devices)
    assert makespan(folded, forward, forward + more) == makespan(chimera, forward, forward + more)


@given(st.integers(1, 16), st.integers(1, 64), st.integers(1, 3))
def test_no_more_activations_than_one_microbatch_a_device_in_flight(devices: int, count: int, waves: int) -> None:
    for row in build("hanayo", stages=devices, microbatches=count, waves=waves).actions:
        level = peak = 0
        for action in row:
            level += 1 if action.kind is Kind.F else -1
            peak = max(peak, level)
        assert peak <= 2 * waves * devices  # p micro-batches through 2w chunks: 1F1B's p whole devices
        assert level == 0


def test_no_wave_is_refused() -> None:
    with pytest.raises(InputError, match="waves = 0"):
        build("hanayo", stages=4, microbatches=4, waves=0)
