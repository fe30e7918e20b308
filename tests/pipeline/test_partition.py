"""What --partition says: balanced by cost, equal in number, or as given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError
from chimera.pipeline.models.partition import by_count, chosen

COSTS = [1, 1, 1, 1, 9, 1]


def lengths(cuts: tuple[range, ...]) -> list[int]:
    return [len(cut) for cut in cuts]


def test_a_partition_is_said_in_a_word_or_in_numbers() -> None:
    assert lengths(chosen("count", COSTS, 3)) == [2, 2, 2]
    assert lengths(chosen("4,1,1", COSTS, 3)) == [4, 1, 1]
    assert lengths(chosen("balanced", COSTS, 3)) == [4, 1, 1]  # the costly layer alone


@given(layers=st.integers(1, 30), stages=st.integers(1, 30))
def test_counts_differ_by_one_at_most_and_cover_all(layers: int, stages: int) -> None:
    if stages > layers:
        with pytest.raises(InputError, match="at least one layer"):
            by_count(layers, stages)
        return
    found = lengths(by_count(layers, stages))
    assert sum(found) == layers and len(found) == stages and max(found) - min(found) <= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [("3,3", "has 2 stages"), ("1,2,4", "covers 7 layers"), ("0,3,3", "without a layer"), ("fair", "no list")],
)
def test_what_does_not_fit_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        chosen(text, COSTS, 3)
