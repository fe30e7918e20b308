"""Orders small enough to check by hand, and torch's own generators where they are right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chimera.pipeline.schedules import build

GOLDEN = [
    # GPipe: all forwards, then all backwards, as torch (fifo) or last in, first out.
    ("gpipe", 2, 2, {}, ["0F0 0F1 0B0 0B1", "1F0 1F1 1B0 1B1"]),
    ("gpipe", 2, 2, {"order": "lifo"}, ["0F0 0F1 0B1 0B0", "1F0 1F1 1B1 1B0"]),
    # 1F1B: min(m, p-s) forwards, then one backward, one forward.
    (
        "dapple",
        3,
        4,
        {},
        ["0F0 0F1 0F2 0B0 0F3 0B1 0B2 0B3", "1F0 1F1 1B0 1F2 1B1 1F3 1B2 1B3", "2F0 2B0 2F1 2B1 2F2 2B2 2F3 2B3"],
    ),
    ("dapple", 3, 1, {}, ["0F0 0B0", "1F0 1B0", "2F0 2B0"]),
    # Chimera paper, Figure 3: micro-batches 0, 1 down and 2, 3 up.
    (
        "chimera",
        4,
        4,
        {},
        [
            "0F0 0F1 3F2 3B2 3F3 3B3 0B0 0B1",
            "1F0 2F2 1F1 2F3 2B2 1B0 2B3 1B1",
            "1F2 2F0 1F3 2F1 2B0 1B2 2B1 1B3",
            "0F2 0F3 3F0 3B0 3F1 3B1 0B2 0B3",
        ],
    ),
    # N < D: one micro-batch down, none up.
    ("chimera", 2, 1, {}, ["0F0 0B0", "1F0 1B0"]),
    # Direct concatenation (Figure 7a): the next unit's first forwards fill the bubbles before the last backwards.
    ("chimera", 2, 4, {}, ["0F0 1F1 1B1 0B0 0F2 1F3 1B3 0B2", "0F1 1F0 1B0 0B1 0F3 1F2 1B2 0B3"]),
    (
        "chimera",
        4,
        5,
        {},
        [
            "0F0 0F1 3F2 3B2 3F3 3B3 0B0 0F4 0B1 0B4",
            "1F0 2F2 1F1 2F3 2B2 1B0 2B3 1B1 1F4 1B4",
            "1F2 2F0 1F3 2F1 2B0 1B2 2B1 1B3 2F4 2B4",
            "0F2 0F3 3F0 3B0 3F1 3B1 0B2 0B3 3F4 3B4",
        ],
    ),
    # Forward doubling (Figure 7b): two micro-batches a forward; an odd K ends with a plain unit.
    ("chimera", 2, 4, {"concat": "doubling"}, ["0F0+1 1F2+3 1B2 1B3 0B0 0B1", "0F2+3 1F0+1 1B0 1B1 0B2 0B3"]),
    (
        "chimera",
        2,
        6,
        {"concat": "doubling"},
        ["0F0+1 1F2+3 1B2 1B3 0B0 0B1 0F4 1F5 1B5 0B4", "0F2+3 1F0+1 1B0 1B1 0B2 0B3 0F5 1F4 1B4 0B5"],
    ),
    # Backward halving (Figure 7c): each backward in two halves.
    ("chimera", 2, 2, {"concat": "halving"}, ["0F0 1F1 1B1.0 1B1.1 0B0.0 0B0.1", "0F1 1F0 1B0.0 1B0.1 0B1.0 0B1.1"]),
    # GEMS: the next forward follows the previous backward stage by stage, from the other end.
    ("gems", 2, 3, {}, ["0F0 0B0 1F1 1B1 0F2 0B2", "1F0 1B0 0F1 0B1 1F2 1B2"]),
    # Megatron, p = v = 2: warm-up (v-1) p + 2 (p-1-r) chunks: 4 and 2.
    ("interleaved", 2, 2, {}, ["0F0 0F1 2F0 2F1 2B0 2B1 0B0 0B1", "1F0 1F1 3F0 3B0 3F1 3B1 1B0 1B1"]),
    # Breadth-first: all micro-batches of a chunk before the next, and back in reverse.
    ("breadth-first", 2, 2, {}, ["0F0 0F1 2F0 2F1 2B1 2B0 0B1 0B0", "1F0 1F1 3F0 3F1 3B1 3B0 1B1 1B0"]),
    # Data-parallel: whole micro-batches, dealt one by one.
    ("data-parallel", 2, 3, {}, ["0F0 1F0 1B0 0B0 0F2 1F2 1B2 0B2", "0F1 1F1 1B1 0B1"]),
]


@pytest.mark.parametrize(("name", "stages", "microbatches", "options", "rows"), GOLDEN)
def test_golden(name: str, stages: int, microbatches: int, options: dict[str, Any], rows: list[str]) -> None:
    schedule = build(name, stages=stages, microbatches=microbatches, **options)
    assert [" ".join(map(str, row)) for row in schedule.actions] == rows


def test_where_chimera_puts_its_pipelines() -> None:
    """Section 3.6 of the paper: down pipeline i starts on worker i D/f, up pipelines are the reverse; down first."""
    schedule = build("chimera", stages=8, microbatches=8, pairs=2)
    assert schedule.placement == (
        (0, 1, 2, 3, 4, 5, 6, 7),
        (4, 5, 6, 7, 0, 1, 2, 3),
        (7, 6, 5, 4, 3, 2, 1, 0),
        (3, 2, 1, 0, 7, 6, 5, 4),
    )
    assert schedule.replica_of == (0, 0, 1, 1, 2, 2, 3, 3)


def test_data_parallel_holds_the_whole_model_everywhere() -> None:
    assert build("data-parallel", stages=3, microbatches=3).placement == ((0, 0, 0), (1, 1, 1), (2, 2, 2))


def torch_rows(kind: str, devices: int, chunks: int, count: int) -> list[str]:
    """What torch's generator orders, without its idle slots and without building a model."""
    schedules = pytest.importorskip("torch.distributed.pipelining.schedules")
    maker = object.__new__(getattr(schedules, kind))
    maker.n_local_stages, maker.pp_group_size, maker._n_microbatches = chunks, devices, count
    maker._stages = [None] * chunks
    rounds = max(1, count // devices)
    if kind == "ScheduleInterleaved1F1B":
        assume(count % rounds == 0)  # otherwise torch refuses
    maker.number_of_rounds, maker.microbatches_per_round = rounds, count // rounds
    return [
        " ".join(str(op) for op in maker._calculate_single_rank_operations(device) if op is not None)
        for device in range(devices)
    ]


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 24))
def test_interleaved_is_torchs_wherever_torch_has_one(devices: int, v: int, count: int) -> None:
    schedule = build("interleaved", stages=devices, microbatches=count, v=v)
    rows = [" ".join(map(str, row)) for row in schedule.actions]
    assert rows == torch_rows("ScheduleInterleaved1F1B", devices, v, count)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 12))
def test_breadth_first_is_torchs(devices: int, v: int, count: int) -> None:
    schedule = build("breadth-first", stages=devices, microbatches=count, v=v)
    rows = [" ".join(map(str, row)) for row in schedule.actions]
    assert rows == torch_rows("ScheduleLoopedBFS", devices, v, count)
