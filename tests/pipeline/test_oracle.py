"""Optimal schedules of tiny pipelines by constraint programming, and how far the generators are from them.

The model knows nothing of our generators: every F, I and W (or B) of a stage and micro-batch is an
interval on its device, precedence is the data flow, and a device never stores more activations
than its limit. Micro-batches are alike, so each kind may be taken in ascending order.
"""

from itertools import accumulate
from typing import Any

import pytest

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.lowering.order import walk
from chimera.pipeline.schedules import build

cp_model: Any = pytest.importorskip("ortools.sat.python.cp_model")


def optimum(
    devices: int,
    microbatches: int,
    limit: int,
    times: tuple[int, int, int],
    *,
    split: bool = True,
    folded: bool = False,
    longest: bool = False,
) -> int:
    """The smallest makespan in slots, proven; `limit` counts activations of a chunk on each device.

    `times` are those of F, I and W of a chunk; unsplit, a backward takes I + W. `longest` asks for
    the smallest longest device instead, from its first start to its last end.
    """
    lengths = dict(zip("FIW", times if split else (times[0], times[1] + times[2], 0), strict=True))
    problem = Problem(devices, 2 * devices if folded else devices, microbatches, lengths, longest)
    for m in range(microbatches):
        problem.add_microbatch(m, split)
    return problem.solved(limit)


class Problem:
    """Intervals on devices, what precedes what, and how many activations each device holds when."""

    def __init__(self, devices: int, stages: int, microbatches: int, lengths: dict[str, int], longest: bool) -> None:
        self.devices, self.stages, self.lengths, self.longest = devices, stages, lengths, longest
        self.horizon = sum(lengths.values()) * stages * microbatches
        self.model = cp_model.CpModel()
        self.busy: list[list[Any]] = [[] for _ in range(devices)]
        self.levels: list[tuple[list[Any], list[int]]] = [([], []) for _ in range(devices)]
        self.ends: dict[tuple[str, int, int], Any] = {}
        self.makespan = self.model.new_int_var(0, self.horizon, "makespan")

    def device(self, stage: int) -> int:
        """Where a stage lives: the second half of folded stages goes back over the same devices."""
        return min(stage, self.stages - 1 - stage) if self.stages > self.devices else stage

    def add_microbatch(self, m: int, split: bool) -> None:
        for stage in range(self.stages):
            self.level(stage, self.place("F", stage, m, ("F", stage - 1, m)), 1)
        for stage in reversed(range(self.stages)):
            self.place("I", stage, m, ("I", stage + 1, m), ("F", stage, m))
            if split:
                self.place("W", stage, m, ("I", stage, m))
            self.level(stage, self.ends["W" if split else "I", stage, m], -1)

    def place(self, kind: str, stage: int, m: int, *after: tuple[str, int, int]) -> Any:
        """The start of an action behind others, and behind the same of the micro-batch before."""
        length, device = self.lengths[kind], self.device(stage)
        start = self.model.new_int_var(0, self.horizon - length, "")
        self.busy[device].append(self.model.new_fixed_size_interval_var(start, length, ""))
        for earlier in (*after, (kind, stage, m - 1)):
            if earlier in self.ends:
                self.model.add(start >= self.ends[earlier])
        self.ends[kind, stage, m] = start + length
        # a device's first action is the first forward of its first stage
        begin = self.ends["F", device, 0] - self.lengths["F"] if self.longest else 0
        self.model.add(self.makespan >= start + length - begin)
        return start

    def level(self, stage: int, moment: Any, change: int) -> None:
        """So many activations more on the device of a stage from a moment on."""
        moments, changes = self.levels[self.device(stage)]
        moments.append(moment)
        changes.append(change)

    def solved(self, limit: int) -> int:
        """The smallest makespan, proven."""
        for device in range(self.devices):
            self.model.add_no_overlap(self.busy[device])
            self.model.add_reservoir_constraint(*self.levels[device], 0, limit)
        self.model.minimize(self.makespan)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 0
        solver.parameters.max_time_in_seconds = 60
        assert solver.solve(self.model) == cp_model.OPTIMAL
        return round(float(solver.objective_value))


def makespan(
    name: str,
    devices: int,
    microbatches: int,
    times: tuple[int, int, int],
    *,
    longest: bool = False,
    **options: int,
) -> int:
    """Slots that a generated schedule takes, or its longest device."""
    schedule = build(name, stages=devices, microbatches=microbatches, **options)
    forward, inputs, weights = times

    def duration(action: Action) -> int:
        return {Kind.F: forward, Kind.I: inputs, Kind.W: weights, Kind.B: inputs + weights}[action.kind]

    slots = walk(schedule.actions, schedule.stages, duration)
    return max(ends[-1] - longest * starts[0] for starts, ends in zip(slots.starts, slots.ends, strict=True))


TIMES = pytest.mark.parametrize("times", [(1, 1, 1), (2, 2, 1), (2, 3, 2)])
SIZES = pytest.mark.parametrize(("devices", "microbatches"), [(1, 3), (2, 2), (2, 4), (3, 3), (3, 4)])


@TIMES
@SIZES
def test_1f1b_is_optimal_unless_the_backward_is_split(
    devices: int, microbatches: int, times: tuple[int, int, int]
) -> None:
    # (m + p - 1)(F + B) is what all the memory there is allows; DAPPLE takes p of m activations
    best = optimum(devices, microbatches, microbatches, times, split=False)
    assert best == (microbatches + devices - 1) * sum(times) == makespan("dapple", devices, microbatches, times)
    gap = best - optimum(devices, microbatches, devices, times)
    assert gap == (devices - 1) * 2 * times[2]  # what splitting is worth: (F+B) - (F+I-W) = 2W a device


@TIMES
@SIZES
@pytest.mark.parametrize("name", ["zb-h1", "zb-1p"])
def test_zero_bubble_is_optimal_at_the_memory_of_1f1b(
    name: str, devices: int, microbatches: int, times: tuple[int, int, int]
) -> None:
    assert makespan(name, devices, microbatches, times) == optimum(devices, microbatches, devices, times)


@pytest.mark.parametrize(
    ("name", "devices", "microbatches", "limit", "gap"),
    [
        ("zb-2p", 2, 3, 4, 0),
        ("zb-2p", 3, 4, 6, 0),
        ("zb-v", 2, 2, 4, 0),
        ("zb-v", 2, 3, 4, 0),
        ("zb-v", 3, 2, 6, 0),
        ("zb-v", 3, 3, 6, 0),
        ("v-half", 2, 3, 4, 0),
        ("v-half", 3, 3, 4, 0),
        ("v-min", 2, 3, 4, 2),  # a block of half the bubble fits the same memory: V-Half's
        ("v-min", 3, 3, 4, 0),
    ],
)
def test_optimality_gaps_at_equal_times(name: str, devices: int, microbatches: int, limit: int, gap: int) -> None:
    best = optimum(devices, microbatches, limit, (1, 1, 1), folded=name != "zb-2p")
    assert makespan(name, devices, microbatches, (1, 1, 1)) - best == gap


def test_less_memory_costs_time() -> None:
    # with one activation stage 0 runs F, waits for stage 1's F and I, runs I and W: 5 slots a micro-batch
    assert [optimum(2, 3, limit, (1, 1, 1)) for limit in (1, 2, 3)] == [15, 10, 10]


UNIT, LATE, HEAVY = (1, 1, 1), (4, 5, 3), (3, 2, 4)


@pytest.mark.parametrize(
    ("name", "devices", "microbatches", "times", "limit", "gap", "longest_gap"),
    [
        ("zb-h1", 4, 4, UNIT, 4, 0, 0),
        ("zb-h1", 4, 4, LATE, 4, 0, 0),
        ("zb-h1", 4, 4, HEAVY, 4, 0, 0),
        ("zb-h2", 2, 4, UNIT, 3, 0, 0),
        ("zb-h2", 3, 4, UNIT, 5, 0, 0),
        ("zb-h2", 3, 3, UNIT, 5, 1, 0),  # too few micro-batches for its warm-up
        ("zb-h2", 4, 4, UNIT, 7, 1, 0),
        ("zb-1p", 4, 4, LATE, 4, 0, 0),
        ("zb-1p", 4, 4, HEAVY, 4, 2, 0),  # the search shortens the longest device, not the makespan
        ("zb-1p", 2, 3, UNIT, 1, 0, 0),
        ("zb-1p", 4, 4, UNIT, 3, 0, 0),
        ("zb-1p", 3, 4, UNIT, 2, 2, 2),  # well below p activations, F and I in turn are too regular
        ("zb-1p", 4, 4, UNIT, 2, 4, 4),
        ("zb-2p", 3, 4, UNIT, 6, 0, 0),
        ("zb-2p", 4, 4, LATE, 8, 0, 0),
        ("zb-2p", 4, 4, HEAVY, 8, 2, 0),
        ("zb-v", 1, 4, UNIT, 2, 0, 0),
        ("zb-v", 2, 4, UNIT, 4, 0, 0),
        ("zb-v", 3, 3, UNIT, 6, 0, 0),
        ("zb-v", 3, 2, UNIT, 4, 0, 1),  # too few micro-batches: it is made for 2p and more
        ("zb-v", 2, 3, (2, 3, 1), 4, 1, 1),  # and for F = I = W
        ("zb-v", 3, 3, (2, 3, 1), 6, 3, 3),
        ("v-half", 3, 3, UNIT, 4, 0, 0),
        ("v-min", 3, 3, UNIT, 4, 0, 0),
        ("v-min", 2, 4, UNIT, 4, 2, 3),
    ],
)
def test_optimality_gaps_of_makespan_and_longest_device(
    name: str, devices: int, microbatches: int, times: tuple[int, int, int], limit: int, gap: int, longest_gap: int
) -> None:
    options: dict[str, int] = {}
    if name in ("zb-1p", "zb-2p"):
        options = dict(zip(("forward", "backward_input", "backward_weight"), times, strict=True)) | {"limit": limit}
    folded = name in ("zb-v", "v-half", "v-min")
    found = []
    for longest in (False, True):
        best = optimum(devices, microbatches, limit, times, folded=folded, longest=longest)
        found.append(makespan(name, devices, microbatches, times, longest=longest, **options) - best)
    assert found == [gap, longest_gap]
    for row in build(name, stages=devices, microbatches=microbatches, **options).actions:
        stored = accumulate((action.kind is Kind.F) - (action.kind is Kind.W) for action in row)
        assert max(stored) <= limit  # so that the comparison is fair
