"""Every classic generator against the formulas of its source, and Chimera against its paper."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.lowering.order import walk
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build, catalogue
from chimera.pipeline.soundness.check import check
from chimera.simulator import Profile, simulate


def makespan(schedule: Schedule, forward: int = 1, backward: int = 2) -> int:
    """Slots of `forward` and `backward` length, half backwards half as long, by the unit walk."""

    def duration(action: Action) -> int:
        if action.kind is Kind.F:
            return forward * (2 if action.also >= 0 else 1)
        return backward // 2 if action.half >= 0 else backward

    return max(row[-1] for row in walk(schedule.actions, schedule.stages, duration).ends if row)


def peaks(schedule: Schedule) -> list[int]:
    """Peak number of stored activations per device, counted along its row (independent of time)."""
    found = []
    for row in schedule.actions:
        level = peak = 0
        for action in row:
            for part in action.parts:
                level += len(part.microbatches) if part.kind is Kind.F else 0
                peak = max(peak, level)
                level -= part.kind in (Kind.B, Kind.W) and part.half != 0
        found.append(peak)
        assert level == 0
    return found


def order(schedule: Schedule, device: int) -> str:
    return " ".join(str(action) for action in schedule.actions[device])


def test_chimera_of_depth_4_is_the_papers_figure() -> None:
    schedule = build("chimera", stages=4, microbatches=4)
    assert order(schedule, 0) == "0F0 0F1 3F2 3B2 3F3 3B3 0B0 0B1"
    assert order(schedule, 1) == "1F0 2F2 1F1 2F3 2B2 1B0 2B3 1B1"
    assert schedule.placement == ((0, 1, 2, 3), (3, 2, 1, 0)) and schedule.replica_of == (0, 0, 1, 1)
    assert peaks(schedule) == [3, 4, 4, 3]


@pytest.mark.parametrize(
    ("depth", "backward", "slots", "bubble"),
    [(4, 1, 10, (1, 5)), (4, 2, 16, (1, 4)), (8, 1, 22, (3, 11)), (8, 2, 36, (1, 3))],
)
def test_chimera_unit_makespans(depth: int, backward: int, slots: int, bubble: tuple[int, int]) -> None:
    schedule = build("chimera", stages=depth, microbatches=depth)
    assert makespan(schedule, 1, backward) == slots
    metrics = simulate(schedule, Profile.uniform(forward="1ms", backward=f"{backward}ms")).metrics
    assert metrics.bubble_ratio == float(Fraction(*bubble))  # Chimera paper, Table 2


@given(st.integers(1, 16), st.integers(1, 40), st.integers(1, 5), st.integers(1, 9))
def test_gpipe_and_dapple_take_n_plus_d_minus_1_rounds(depth: int, count: int, forward: int, backward: int) -> None:
    for name in ("gpipe", "dapple"):
        assert makespan(build(name, stages=depth, microbatches=count), forward, backward) == (count + depth - 1) * (
            forward + backward
        )


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 6), st.integers(0, 6))
def test_direct_concatenation(half: int, units: int, forward: int, more: int) -> None:
    depth, backward = 2 * half, forward + more
    schedule = build("chimera", stages=depth, microbatches=units * depth)
    expected = (depth - 2 + 2 * units) * forward + units * (2 * depth - 2) * backward
    assert makespan(schedule, forward, backward) == expected


@given(st.integers(1, 12), st.data())
def test_more_pairs_shorten_the_critical_path(half: int, data: st.DataObject) -> None:
    pairs = data.draw(st.sampled_from([f for f in range(1, half + 1) if half % f == 0]))
    depth = 2 * half
    schedule = build("chimera", stages=depth, microbatches=depth, pairs=pairs)
    # C_f = D forwards and C_b = D + D/f - 2 backwards on the critical path
    assert makespan(schedule, 3, 7) == depth * 3 + (depth + depth // pairs - 2) * 7
    assert min(peaks(schedule)) == depth - depth // (2 * pairs) + 1 and max(peaks(schedule)) == depth  # Table 2


@given(st.integers(1, 8), st.integers(1, 5))
def test_doubling_and_halving_have_no_intermediate_bubbles(half: int, units: int) -> None:
    depth = 2 * half
    doubled = build("chimera", stages=depth, microbatches=2 * depth * units, concat="doubling", recompute=False)
    halved = build("chimera", stages=depth, microbatches=depth * units, concat="halving")
    assert makespan(doubled) == 3 * doubled.microbatches + 2 * (depth - 2)
    assert makespan(halved) == 3 * halved.microbatches + depth - 2


def test_an_odd_number_of_units_ends_with_a_plain_one_when_doubling() -> None:
    schedule = build("chimera", stages=4, microbatches=12, concat="doubling", recompute=False)
    forwards = [action for action in schedule.actions[0] if action.kind is Kind.F]
    assert [len(forward.parts[0].microbatches) for forward in forwards].count(1) == 4


def test_direct_concatenation_loses_to_dapple_only_for_many_units() -> None:
    # Derived from the two formulas: K = 4 at D = 4 and K = 3 at D = 6 are the first that lose.
    def slower(depth: int, units: int) -> bool:
        count = depth * units
        return makespan(build("chimera", stages=depth, microbatches=count)) > makespan(
            build("dapple", stages=depth, microbatches=count)
        )

    assert [slower(4, units) for units in (1, 2, 3, 4, 5)] == [False, False, False, True, True]
    assert [slower(6, units) for units in (1, 2, 3)] == [False, False, True]


def test_peak_activations_of_the_baselines() -> None:
    assert peaks(build("dapple", stages=4, microbatches=8)) == [4, 3, 2, 1]
    assert peaks(build("gpipe", stages=4, microbatches=8)) == [8] * 4
    assert max(peaks(build("gems", stages=8, microbatches=12))) <= 2


@pytest.mark.parametrize(("v", "bubble"), [(1, (3, 11)), (2, (3, 19)), (4, (3, 35))])
def test_looped_schedules_divide_the_bubble_by_v(v: int, bubble: tuple[int, int]) -> None:
    for name in ("interleaved", "breadth-first"):
        schedule = build(name, stages=4, microbatches=8, v=v)
        metrics = simulate(schedule, Profile.uniform(forward="1ms", backward="2ms")).metrics
        assert metrics.bubble_ratio == pytest.approx(float(Fraction(*bubble)))  # arXiv 2104.04473, section 2.2


@given(st.integers(2, 8), st.integers(1, 4), st.integers(1, 4))
def test_interleaved_bubble_is_p_minus_1_over_v(devices: int, v: int, groups: int) -> None:
    count = devices * groups
    schedule = build("interleaved", stages=devices, microbatches=count, v=v)
    assert makespan(schedule) == 3 * (v * count + devices - 1)  # in chunks: (p-1)(F+B)/v of a whole device
    # arXiv 2104.04473: warm-up of (v-1)p + 2(p-1-r) chunks, then one more in flight
    expected = [min((v - 1) * devices + 2 * (devices - 1 - r) + 1, v * count) for r in range(devices)]
    assert peaks(schedule) == expected


def test_gems_tends_to_its_table_entry() -> None:
    metrics = simulate(
        build("gems", stages=8, microbatches=400), Profile.uniform(forward="1ms", backward="2ms")
    ).metrics
    assert metrics.bubble_ratio == pytest.approx((8 - 1) / (8 + 0.5), rel=1e-3)  # Chimera paper, Table 2


def test_data_parallel_has_no_bubble_when_it_divides_evenly() -> None:
    metrics = simulate(build("data-parallel", stages=4, microbatches=8), Profile.uniform()).metrics
    assert metrics.bubble_ratio == 0


@given(st.data())
def test_every_generator_is_sound_wherever_it_admits(data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from([item for item in catalogue() if not item.reads_file]))
    depth, count = data.draw(st.integers(1, 16)), data.draw(st.integers(1, 64))
    options = {
        key: data.draw(st.sampled_from(spec.choices)) for key, spec in entry.options.items() if spec.choices is not None
    }
    try:
        schedule = build(entry.name, stages=depth, microbatches=count, **options)
    except InputError as error:
        assert error.remedy
        assume(False)
        return
    check(schedule)
    peaks(schedule)


def test_bad_requests_say_what_to_do() -> None:
    with pytest.raises(InputError, match="3 stages"):
        build("chimera", stages=3, microbatches=4)
    with pytest.raises(InputError, match="does not divide"):
        build("chimera", stages=8, microbatches=8, pairs=3)
    with pytest.raises(InputError, match="microbatches = 0"):
        build("gpipe", stages=2, microbatches=0)
    with pytest.raises(UnknownNameError) as caught:
        build("chimaera", stages=4, microbatches=4)
    assert "did you mean 'chimera'" in caught.value.remedy
    with pytest.raises(UnknownNameError, match="parirs"):
        build("chimera", stages=4, microbatches=4, parirs=2)
