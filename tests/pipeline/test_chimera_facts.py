"""What the Chimera paper counts, and where its Table 2 holds: bubbles, memory and moments in unit slots.

T is counted in forwards' time with the walk of `chimera.pipeline.lowering.order`; formulas are those of chimera.md
(SC'21, arXiv 2107.06925), with symbols D, N = K D, f, F, B.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.order import Walk, walk
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from tests.strategies import chimeras, divisors


def cost(forward: int, backward: int) -> Callable[[Action], int]:
    """A doubled forward costs two, a half backward half a backward (which must be even)."""

    def duration(action: Action) -> int:
        if action.kind is Kind.F:
            return forward * len(action.microbatches)
        return backward if action.half < 0 else backward // 2

    return duration


def timed(schedule: Schedule, forward: int = 1, backward: int = 2) -> Walk:
    return walk(schedule.actions, schedule.stages, cost(forward, backward))


def makespan(schedule: Schedule, forward: int = 1, backward: int = 2) -> int:
    return max(row[-1] for row in timed(schedule, forward, backward).ends if row)


def bubble(schedule: Schedule, forward: int = 1, backward: int = 2) -> Fraction:
    return 1 - Fraction(schedule.microbatches * (forward + backward), makespan(schedule, forward, backward))


def peaks(schedule: Schedule) -> list[int]:
    """Peak stored micro-batches per device, along its row."""
    found = []
    for row in schedule.actions:
        levels = [0]
        for action in row:
            change = len(action.parts[0].microbatches) if action.kind is Kind.F else -int(action.parts[0].half != 0)
            levels.append(levels[-1] + change)
        assert levels[-1] == 0
        found.append(max(levels))
    return found


halves = st.integers(1, 6)
units = st.integers(1, 5)


@given(halves, units)
def test_table_2_is_exact_for_direct_concatenation_with_equal_costs(half: int, count: int) -> None:
    D, N = 2 * half, 2 * half * count
    assert bubble(build("chimera", stages=D, microbatches=N), 1, 1) == Fraction(D - 2, 2 * N + D - 2)


@given(halves)
def test_table_2_for_one_unit_and_double_backwards(half: int) -> None:
    D = N = 2 * half
    assert bubble(build("chimera", stages=D, microbatches=N)) == Fraction(D - 2) / (Fraction(3 * N, 2) + D - 2)


@given(halves, st.data())
def test_table_2_for_several_pairs(half: int, data: st.DataObject) -> None:
    D = N = 2 * half
    f = data.draw(st.sampled_from(divisors(half)))
    schedule = build("chimera", stages=D, microbatches=N, pairs=f)
    assert bubble(schedule, 1, 1) == Fraction(D - 2 * f, 2 * f * N + D - 2 * f)
    assert (min(peaks(schedule)), max(peaks(schedule))) == (D - D // (2 * f) + 1, D)


@given(halves, units)
def test_doubling_and_halving_at_double_backwards(half: int, count: int) -> None:
    """Table 2 gives both (D-2)/(2N+D-2), which is neither: a doubled unit is half as many slots, twice as long."""
    D, K = 2 * half, count
    halving = build("chimera", stages=D, microbatches=K * D, concat="halving")
    assert bubble(halving) == Fraction(D - 2, 3 * K * D + D - 2)
    doubling = build("chimera", stages=D, microbatches=2 * K * D, concat="doubling", recompute=False)
    assert bubble(doubling) == Fraction(D - 2) / (Fraction(3 * 2 * K * D, 2) + D - 2)
    # an odd number of D micro-batches ends with a plain unit, which adds half as much bubble once more
    odd = build("chimera", stages=D, microbatches=(2 * K + 1) * D, concat="doubling", recompute=False)
    assert makespan(odd) == 3 * odd.microbatches + 3 * (D - 2)


@given(halves, units)
def test_no_bubble_between_units_when_doubled_or_halved(half: int, count: int) -> None:
    """The middle workers, busy without a break from their first forward to their last backward."""
    D = 2 * half
    for concat, N in (("doubling", 2 * D * count), ("halving", D * count)):
        timing = timed(build("chimera", stages=D, microbatches=N, concat=concat))
        for worker in (half - 1, half):
            assert timing.ends[worker][-1] - timing.starts[worker][0] == 3 * N


@given(halves, units, st.data())
def test_memory_of_the_three_concatenations(half: int, count: int, data: st.DataObject) -> None:
    D = 2 * half
    f = data.draw(st.sampled_from(divisors(half)))

    def highest(N: int, concat: str) -> int:
        return max(peaks(build("chimera", stages=D, microbatches=N, pairs=f, concat=concat)))

    assert highest(D * count, "direct") == highest(D * count, "halving") == D  # halving costs no activations
    assert highest(2 * D * count, "doubling") == 2 * D  # "twice the activations"


def test_figure_6_of_the_paper() -> None:
    # D = 6, N = 6: C_f = 6 forwards and C_b = 10 backwards on the critical path
    schedule = build("chimera", stages=6, microbatches=6)
    assert [makespan(schedule, 10, backward) for backward in (10, 20, 30)] == [160, 260, 360]


@pytest.mark.parametrize("D", [2, 4, 6, 8, 16, 32])
def test_when_workers_finish_their_replicas(D: int) -> None:
    """chimera.md, gradient synchronisation, N = D and F = B: what eager synchronisation has to hide behind."""
    schedule = build("chimera", stages=D, microbatches=D)
    timing = timed(schedule, 1, 1)
    for w in range(D // 2):
        last = {action.parts[0].stage: end for action, end in zip(schedule.actions[w], timing.ends[w], strict=True)}
        assert (last[max(last)], last[min(last)]) == (2 * D - 1 + w, 3 * D - 2 - w)
        after = [start for start in timing.starts[w] if start >= last[max(last)]]
        assert last[min(last)] - last[max(last)] - len(after) == D // 2 - 1 - w


@given(chimeras(max_units=3))
def test_any_number_of_micro_batches_keeps_its_bounds(schedule: Schedule) -> None:
    """Not below the busiest worker's work, nor above all work in a line."""
    busy = [sum(cost(1, 2)(part) for action in row for part in action.parts) for row in schedule.actions]
    assert sum(busy) == 3 * schedule.stages * schedule.microbatches
    assert max(busy) <= makespan(schedule) <= sum(busy)


@given(halves, st.data())
def test_up_to_one_unit_it_is_never_slower_than_dapple(half: int, data: st.DataObject) -> None:
    """DAPPLE takes (N+D-1)(F+B); Chimera's point is to need less for N <= D."""
    D = 2 * half
    N, f = data.draw(st.integers(1, D)), data.draw(st.sampled_from(divisors(half)))
    for forward, backward in ((1, 1), (1, 2), (2, 3), (1, 4)):
        schedule = build("chimera", stages=D, microbatches=N, pairs=f)
        assert makespan(schedule, forward, backward) <= (N + D - 1) * (forward + backward)


@given(halves, st.integers(1, 40))
def test_gems_keeps_at_most_two_micro_batches_in_flight(half: int, count: int) -> None:
    D = 2 * half
    schedule = build("gems", stages=D, microbatches=count)
    timing = timed(schedule)
    born, dead = [10**9] * count, [0] * count
    for row, starts, ends in zip(schedule.actions, timing.starts, timing.ends, strict=True):
        for action, start, end in zip(row, starts, ends, strict=True):
            m = action.parts[0].microbatch
            born[m], dead[m] = min(born[m], start), max(dead[m], end)
    assert all(born[m + 2] >= dead[m] for m in range(count - 2))
    assert max(peaks(schedule)) <= 2


@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 30))
def test_interleaved_keeps_its_bubble_for_any_number_of_micro_batches(p: int, v: int, more: int) -> None:
    """arXiv 2104.04473 needs N a multiple of p; uneven groups cost nothing as long as N >= p."""
    schedule = build("interleaved", stages=p, microbatches=p + more, v=v)
    assert makespan(schedule) == 3 * v * (p + more) + 3 * (p - 1)


@pytest.mark.parametrize(("stages", "microbatches", "slots"), [(4, 8, 27), (8, 16, 57), (16, 32, 117), (8, 32, 105)])
def test_doubled_forwards_that_hand_over_each_by_itself(stages: int, microbatches: int, slots: int) -> None:
    """The paper's Figure 7d has 27 slots for D = 4, N = 8, B = 2F without recomputation; the others continue it."""
    schedule = build(
        "chimera", stages=stages, microbatches=microbatches, concat="doubling", handover="each", recompute="none"
    )
    assert max(row[-1] for row in walk(schedule.actions, schedule.stages).ends) == slots


def test_handover_needs_a_doubled_forward() -> None:
    with pytest.raises(InputError, match="no forward is doubled"):
        build("chimera", stages=4, microbatches=8, handover="each")
