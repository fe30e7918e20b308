"""Schedules with a split backward: Zero Bubble, the V family, DualPipe, and Hanayo's waves.

Times are integers: F, I and W of one stage (of one chunk where a device holds two). The longest
device is measured from its first action to its last, as the Zero Bubble papers do.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.lowering.order import walk
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.soundness.check import check
from chimera.simulator import Profile, simulate
from tests.sizes import examples

V_FAMILY = ("zb-v", "v-half", "v-min")
small_time = st.integers(1, 6)


def longest_device(schedule: Schedule, forward: int = 1, inputs: int = 1, weights: int = 1) -> int:
    """Idle time of the device with the longest time between its first and its last action."""

    def duration(action: Action) -> int:
        return {Kind.F: forward, Kind.I: inputs, Kind.W: weights, Kind.B: inputs + weights}[action.kind]

    timing = walk(schedule.actions, schedule.stages, duration)
    work = (forward + inputs + weights) * schedule.microbatches * schedule.stages // schedule.devices
    return max(ends[-1] - starts[0] for starts, ends in zip(timing.starts, timing.ends, strict=True)) - work


def peaks(schedule: Schedule) -> list[int]:
    """Most activations stored at once on each device; a W (or B) frees one."""
    found = []
    for row in schedule.actions:
        levels = [0]
        for part in (part for action in row for part in action.parts):
            levels.append(levels[-1] + (part.kind is Kind.F) - (part.kind in (Kind.B, Kind.W)))
        found.append(max(levels))
        assert levels[-1] == 0
    return found


def order(schedule: Schedule, device: int) -> str:
    return " ".join(str(action) for action in schedule.actions[device])


@given(st.integers(1, 12), st.integers(0, 9), small_time, small_time, small_time)
def test_handcrafted_bubbles(p: int, more: int, forward: int, inputs: int, weights: int) -> None:
    weights = min(forward, inputs, weights)  # the paper draws W no longer than F and I
    h1 = build("zb-h1", stages=p, microbatches=p + more)
    h2 = build("zb-h2", stages=p, microbatches=2 * p - 1 + more)
    # arXiv 2401.10241, table 1, whose T_B is our I
    assert longest_device(h1, forward, inputs, weights) == (p - 1) * (forward + inputs - weights)
    assert longest_device(h2, forward, inputs, weights) == (p - 1) * (forward + inputs - 2 * weights)
    assert peaks(h1) == [p] * p and peaks(h2) == [2 * p - 1] * p


def test_handcrafted_orders() -> None:
    h1 = build("zb-h1", stages=3, microbatches=4)
    assert order(h1, 0) == "0F0 0F1 0F2 0I0 0W0 0F3 0I1 0W1 0I2 0W2 0I3 0W3"
    assert order(h1, 2) == "2F0 2I0 2F1 2I1 2F2 2I2 2W0 2F3 2I3 2W1 2W2 2W3"
    h2 = build("zb-h2", stages=2, microbatches=4)
    assert order(h2, 0) == "0F0 0F1 0F2 0I0 0W0 0F3 0I1 0W1 0I2 0W2 0I3 0W3"
    assert order(h2, 1) == "1F0 1I0 1F1 1I1 1F2 1I2 1W0 1F3 1I3 1W1 1W2 1W3"


# p, m, T_F, T_B, T_W, T_comm in us, then the computed bubble rates of 1F1B, ZB-H1, ZB-H2, ZB-1p and
# ZB-2p in ten-thousandths: the Zero Bubble paper's tables of profiled times and computed rates, as its authors'
# repository sail-sg/zero-bubble-pipeline-parallelism keeps them in efficiency.py. Last: the thousandths
# of an activation that W needs, 32h of 34h+5as with s = 1024, (h, a) from the same file, rounded up.
PUBLISHED = [
    (8, 24, 18522, 18086, 9337, 601, 2431, 1585, 1083, 1585, 433, 367),
    (8, 32, 18513, 18086, 9331, 626, 1985, 1242, 837, 1242, 39, 367),
    (8, 64, 18546, 18097, 9321, 762, 1240, 674, 444, 674, 26, 367),
    (8, 24, 29718, 29444, 19927, 527, 2347, 1323, 698, 1323, 29, 433),
    (8, 32, 29802, 29428, 19530, 577, 1898, 1045, 559, 1045, 22, 433),
    (8, 64, 29935, 29621, 19388, 535, 1091, 554, 294, 554, 10, 433),
    (16, 48, 11347, 11248, 8132, 377, 2552, 1397, 672, 1397, 66, 433),
    (16, 64, 11307, 11254, 8101, 379, 2082, 1088, 516, 1088, 54, 433),
    (16, 128, 11325, 11308, 8109, 378, 1251, 576, 266, 576, 28, 433),
    (32, 96, 10419, 10207, 7715, 408, 2646, 1421, 641, 1421, 38, 433),
    (32, 128, 10408, 10204, 7703, 408, 2168, 1106, 490, 1106, 29, 433),
    (32, 256, 10402, 10248, 7698, 460, 1352, 594, 257, 594, 18, 433),
]


def published_rate(name: str, row: tuple[int, ...]) -> float:
    """Bubble rate of the longest device, in ten-thousandths, by the simulator."""
    p, m, forward, inputs, weights, comm, *_, kept = row
    options = {}
    if name in ("zb-1p", "zb-2p"):
        options = {"forward": forward, "backward_input": inputs, "backward_weight": weights, "comm": comm, "kept": kept}
    schedule = build(name, stages=p, microbatches=m, **options)
    profile = Profile.uniform(
        forward=f"{forward}us",
        backward=f"{inputs + weights}us",
        backward_input=f"{inputs}us",
        backward_weight=f"{weights}us",
        p2p=f"{comm}us",
    )
    timeline = simulate(schedule, profile).timeline
    spans = [timeline.of_device(device) for device in range(p)]
    longest = max(max(span.end_ns for span in row) - min(span.start_ns for span in row) for row in spans)
    return 1e4 * (1 - m * (forward + inputs + weights) * 1000 / longest)


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]}x{row[1]}")
def test_published_bubble_rates(row: tuple[int, ...]) -> None:
    for name, rate in zip(("dapple", "zb-h1", "zb-h2", "zb-1p"), row[6:10], strict=True):
        assert round(published_rate(name, row)) == rate, name
    # The search is ours: it may beat the published one, and may lose 0.0006 to it
    assert published_rate("zb-2p", row) <= row[10] + 6.5


@given(st.sampled_from(["zb-1p", "zb-2p"]), st.integers(1, 10), st.integers(1, 40), st.data())
@settings(deadline=None)
def test_automatic_schedules_keep_their_limit(name: str, p: int, m: int, data: st.DataObject) -> None:
    limit = data.draw(st.integers(1, 3 * p))
    forward, inputs, weights, comm = (data.draw(st.integers(0, 9)) for _ in range(4))
    times = {"forward": forward, "backward_input": inputs, "backward_weight": weights, "comm": comm}
    schedule = build(name, stages=p, microbatches=m, limit=limit, **times)
    check(schedule)
    assert max(peaks(schedule)) <= limit


@given(st.integers(1, 10), st.integers(1, 40), small_time, small_time, small_time)
@settings(deadline=None)
def test_automatic_schedules_are_no_worse_than_the_handcrafted(
    p: int, m: int, forward: int, inputs: int, weights: int
) -> None:
    times = {"forward": forward, "backward_input": inputs, "backward_weight": weights}
    durations = (forward, inputs, weights)
    searched = longest_device(build("zb-1p", stages=p, microbatches=m, **times), *durations)
    assert searched <= longest_device(build("dapple", stages=p, microbatches=m), *durations)
    if m >= p and weights <= min(forward, inputs):
        assert searched <= (p - 1) * (forward + inputs - weights)  # what ZB-H1 reaches with that memory
    if m >= 2 * p - 1 and forward == inputs == weights:
        assert longest_device(build("zb-2p", stages=p, microbatches=m, **times), *durations) == 0  # as ZB-H2


@given(st.integers(1, 16), st.integers(1, 48))
@settings(deadline=None, max_examples=examples(40))
def test_v_family_memory(p: int, m: int) -> None:
    # arXiv 2405.15362 and its playground: p, (p+2)//2 and (p+4)//3 micro-batches of two chunks each
    limits = {"zb-v": 2 * p, "v-half": 2 * ((p + 2) // 2), "v-min": 2 * ((p + 4) // 3)}
    for name in V_FAMILY:
        schedule = build(name, stages=p, microbatches=m)
        check(schedule)
        assert max(peaks(schedule)) <= min(limits[name], 2 * m)
        assert schedule.stages == 2 * p and all(schedule.stages_on(r) == (r, 2 * p - 1 - r) for r in range(p))


@given(st.integers(3, 12), st.integers(0, 9))
@settings(deadline=None, max_examples=examples(40))
def test_v_family_bubbles_at_equal_times(p: int, more: int) -> None:
    idle = {name: longest_device(build(name, stages=p, microbatches=2 * p + more)) for name in V_FAMILY}
    assert idle["zb-v"] == 0  # arXiv 2405.15362: no bubble when F = I = W
    assert idle["v-half"] <= 3 * (p - 1)  # half of 1F1B's 6(p-1) passes of a chunk
    assert idle["v-min"] <= 4 * (p - 1)  # two thirds of it


@given(st.integers(1, 6), st.integers(0, 6), small_time, small_time)
@settings(deadline=None)
def test_dualpipe_bubbles(half: int, more: int, forward: int, weights: int) -> None:
    inputs, weights = forward, min(forward, weights)  # the formula takes W <= F = I for granted
    p, both, full = 2 * half, forward + inputs + weights, inputs + weights  # a pair takes the sum
    dual = build("dualpipe", stages=p, microbatches=2 * p + 2 * more)
    v = build("dualpipe-v", stages=half, microbatches=p + more)
    # deepseek-ai/DualPipe, README: (p/2-1)(F&B + B - 3W), activations p+1; DualPipeV with 2p for p
    for schedule in (dual, v):
        check(schedule)
        assert longest_device(schedule, forward, inputs, weights) == (half - 1) * (both + full - 3 * weights)
        assert peaks(schedule) == [p + 1] * schedule.devices
    assert dual.placement == build("chimera", stages=p, microbatches=p).placement


def test_dualpipe_v_is_torchs() -> None:
    schedules = pytest.importorskip("torch.distributed.pipelining.schedules")
    kinds = {
        schedules.FORWARD: "F",
        schedules.BACKWARD_INPUT: "I",
        schedules.BACKWARD_WEIGHT: "W",
        schedules.FULL_BACKWARD: "B",
    }

    def text(action: Any) -> str:
        parts = [
            f"{part.stage_index}{kinds[part.computation_type]}{part.microbatch_index}"
            for part in action.sub_actions or [action]
        ]
        return parts[0] if len(parts) == 1 else f"({';'.join(parts)})OVERLAP_F_B"

    for p, m in ((1, 2), (2, 4), (3, 8), (4, 9)):
        maker = object.__new__(schedules.ScheduleDualPipeV)
        maker.pp_group_size, maker._n_microbatches, maker.num_stages = p, m, 2 * p
        ours = build("dualpipe-v", stages=p, microbatches=m)
        for rank in range(p):
            assert order(ours, rank) == " ".join(map(text, maker._calculate_single_rank_operations(rank)))


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 3), small_time, st.integers(0, 5))
@settings(deadline=None)
def test_hanayo(p: int, groups: int, waves: int, forward: int, extra: int) -> None:
    backward = forward + extra
    schedule = build("hanayo", stages=p, microbatches=p * groups, waves=waves)
    check(schedule)
    # Derived: the ends cost 2(p-1) b, every further group 2(p-1)(b-f)
    assert longest_device(schedule, forward, 0, backward) == 2 * (p - 1) * (
        backward + (groups - 1) * (backward - forward)
    )
    assert max(peaks(schedule)) == 2 * waves * p
    assert schedule.placement[0][: 2 * p] == (*range(p), *reversed(range(p)))


def test_requests_that_cannot_be_met() -> None:
    for name, p, m in (("dualpipe", 3, 8), ("dualpipe", 4, 9), ("dualpipe", 4, 6), ("dualpipe-v", 4, 7)):
        with pytest.raises(InputError) as caught:
            build(name, stages=p, microbatches=m)
        assert caught.value.remedy
    with pytest.raises(InputError, match="limit = -1"):
        build("zb-1p", stages=2, microbatches=2, limit=-1)
    with pytest.raises(InputError, match="kept = 1001"):
        build("zb-2p", stages=2, microbatches=2, kept=1001)
    with pytest.raises(InputError, match="waves = 0"):
        build("hanayo", stages=2, microbatches=2, waves=0)
