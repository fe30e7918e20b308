"""Ranks and places: the grid against its two formulas, and what follows from each being a bijection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.grid import AXES, Axis, Grid, aligned, node_of
from chimera.pipeline.schedules import build

_ORDERS: list[tuple[Axis, Axis]] = [("pipeline", "copy"), ("copy", "pipeline")]


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    devices, width, tensor = (draw(st.integers(1, 9)) for _ in range(3))
    return Grid(devices, width, tensor, draw(st.sampled_from(_ORDERS)))


@given(grids())
def test_ranks_and_places_are_in_bijection(grid: Grid) -> None:
    places = [grid.place_of(rank) for rank in grid.ranks]
    assert len(set(places)) == grid.gpus == grid.devices * grid.width * grid.tensor
    assert [grid.rank_of(place.device, place.copy, place.tensor) for place in places] == list(grid.ranks)


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_default_order_is_that_of_the_design_page(devices: int, width: int) -> None:
    # docs/design.md: "Global rank of device d in copy w: w * devices + d"
    grid = Grid(devices, width)
    assert all(grid.rank_of(d, w) == w * devices + d for w in range(width) for d in range(devices))


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_other_order_puts_the_copies_of_a_device_side_by_side(devices: int, width: int) -> None:
    # Megatron: data-parallel ranks are neighbours, pipeline ranks a stride of W apart
    grid = Grid(devices, width, order=("copy", "pipeline"))
    assert all(grid.rank_of(d, w) == d * width + w for w in range(width) for d in range(devices))


@given(grids())
def test_tensor_parts_of_a_place_are_neighbours(grid: Grid) -> None:
    first = grid.rank_of(0, 0, 0)
    assert [grid.rank_of(0, 0, part) for part in range(grid.tensor)] == list(range(first, first + grid.tensor))


@given(grids())
def test_the_copies_part_the_ranks_of_one_tensor_part(grid: Grid) -> None:
    for tensor in range(grid.tensor):
        rows = [grid.copy_ranks(copy, tensor) for copy in range(grid.width)]
        assert sorted(rank for row in rows for rank in row) == [r for r in grid.ranks if r % grid.tensor == tensor]
        assert grid.ranks_of(range(grid.devices), tensor) == tuple(rank for row in rows for rank in row)


@pytest.mark.parametrize(("order", "expected"), [(_ORDERS[0], (0, 3, 4, 7)), (_ORDERS[1], (0, 6, 1, 7))])
def test_replicas_of_a_stage_of_chimera(order: tuple[Axis, Axis], expected: tuple[int, ...]) -> None:
    # Chimera, 4 stages: the down pipeline has stage 0 on device 0, the up pipeline on device 3; two copies of both
    schedule = build("chimera", stages=4, microbatches=4)
    assert Grid(4, 2, order=order).replica_ranks(schedule, 0) == expected


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6))
def test_aligned_copies_stand_on_their_nodes_alike(devices: int, per_node: int, width: int) -> None:
    """`aligned` against a count: how many devices of a copy share each of its nodes, in order, is the same for all."""
    if aligned(devices, per_node):
        grid = Grid(devices, width)
        patterns = set()
        for copy in range(width):
            nodes = [node_of(rank, per_node) for rank in grid.copy_ranks(copy)]
            patterns.add(tuple(nodes.count(node) for node in dict.fromkeys(nodes)))
        assert len(patterns) == 1


def test_nodes_are_filled_in_the_order_of_ranks() -> None:
    assert [node_of(rank, 3) for rank in range(7)] == [0, 0, 0, 1, 1, 1, 2]
    assert {node_of(rank, None) for rank in range(7)} == {0}


def test_ranks_left_over_have_no_place() -> None:
    grid = Grid.of_ranks(3, 8)
    assert (grid.width, grid.gpus) == (2, 6)
    assert (Grid.holding(3, 8).width, Grid.holding(3, 9).width) == (3, 3)
    with pytest.raises(IndexError, match="rank 6 has no place"):
        grid.place_of(6)
    with pytest.raises(IndexError, match="copy 2"):
        grid.rank_of(0, 2)


def test_a_grid_travels_as_json_and_is_equal_by_content() -> None:
    grid = Grid(4, 2, order=("copy", "pipeline"))
    assert Grid.from_document(grid.document()) == grid != Grid(4, 2)
    assert hash(Grid.from_document(grid.document())) == hash(grid)
    assert repr(grid) == "<Grid D=4 W=2 T=1, copy,pipeline>"


def test_what_is_no_grid_is_refused() -> None:
    with pytest.raises(InputError, match="width 0"):
        Grid(2, 0)
    with pytest.raises(UnknownNameError, match="order of ranks"):
        Grid(2, order=("copy", "copy"))
    assert AXES == ("pipeline", "copy")
