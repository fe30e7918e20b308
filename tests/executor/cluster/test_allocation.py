"""Ranks onto nodes: evenly, as few nodes as possible, or a way out."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chimera.executor.cluster.allocation import allocate
from chimera.executor.cluster.profile import Nodes
from chimera.pipeline.errors import InputError


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 16))
def test_what_fits_holds_exactly_the_ranks_on_no_more_nodes_than_needed(ranks: int, per_node: int, most: int) -> None:
    try:
        found = allocate(ranks, Nodes(most, per_node))
    except InputError:
        assume(False)
    assert found.ranks == ranks
    assert found.ranks_per_node <= per_node and found.nodes <= most
    assert (found.nodes - 1) * per_node < ranks


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 16))
def test_what_does_not_fit_is_uneven_or_too_much(ranks: int, per_node: int, most: int) -> None:
    fits = ranks <= per_node or (ranks % per_node == 0 and ranks <= most * per_node)
    if fits:
        allocate(ranks, Nodes(most, per_node))
    else:
        with pytest.raises(InputError):
            allocate(ranks, Nodes(most, per_node))


def test_a_remainder_names_what_would_divide() -> None:
    with pytest.raises(InputError, match="12 ranks on nodes of 8: 4 would be left over") as error:
        allocate(12, Nodes(4, 8))
    assert "multiple of 8" in error.value.remedy and "6, 4, 3, 2, 1" in error.value.remedy


def test_too_many_nodes_name_the_most() -> None:
    with pytest.raises(InputError, match="need 5 nodes where a job may have 4") as error:
        allocate(40, Nodes(4, 8))
    assert "up to 32" in error.value.remedy
