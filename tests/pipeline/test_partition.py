"""One partition: what a text says, and what every partition holds to."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.errors import InputError
from chimera.pipeline.models import layers, model_config
from chimera.pipeline.models.layout import layout_counts
from chimera.pipeline.models.partition import Partition

COSTS = [1, 1, 1, 1, 9, 1]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("count", [2, 2, 2]),
        ("4,1,1", [4, 1, 1]),
        ("4|1|1", [4, 1, 1]),
        ("balanced", [4, 1, 1]),  # the costly layer alone
        ("Ettt|t|L", [4, 1, 1]),
        ("Et*3|t|L", [4, 1, 1]),
    ],
)
def test_a_partition_is_said_in_a_word_in_numbers_or_as_a_layout(text: str, counts: list[int]) -> None:
    assert list(Partition.of(text, COSTS, 3)) == counts


def test_megatrons_layout_of_61_blocks_on_32_stages() -> None:
    # Megatron's own example `Et*3|(tt|)*29,m|L` (16 ranks, 2 stages each) less its m: 3 + 29 x 2 = 61 blocks, 31 stages
    counts = layout_counts("Et*3|(tt|)*29,L")
    assert counts == (4, *[2] * 29, 1)
    assert layout_counts("E|(t|)*2(t*2|)*2,L") == (1, 1, 1, 2, 2, 1)


@pytest.mark.parametrize("text", ["balanced", "count", "3,2,2,3", "3|2|2|3", "fair", "", "|"])
def test_other_texts_are_no_layouts(text: str) -> None:
    assert layout_counts(text) is None


@given(layers=st.integers(1, 30), stages=st.integers(1, 30))
def test_counts_differ_by_one_at_most_and_cover_all(layers: int, stages: int) -> None:
    if stages > layers:
        with pytest.raises(InputError, match="at least one layer"):
            Partition.equal(layers, stages)
        return
    partition = Partition.equal(layers, stages)
    assert partition.layers == layers and partition.stages == stages
    assert max(partition) - min(partition) <= 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_every_spelling_reads_as_the_same_partition(counts: list[int]) -> None:
    costs = [1] * sum(counts)
    spellings = [",".join(map(str, counts)), "|".join(map(str, counts)), "|".join("t" * count for count in counts)]
    assert {Partition.of(text, costs, len(counts)) for text in spellings} == {Partition(tuple(counts))}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_ranges_are_contiguous_and_as_long_as_the_counts(counts: list[int]) -> None:
    partition = Partition(tuple(counts))
    assert [index for part in partition.ranges for index in part] == list(range(sum(counts)))
    assert [len(part) for part in partition.ranges] == counts == list(partition)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3,3", "has 2 stages"),
        ("1,2,4", "covers 7 layers"),
        ("0,3,3", "without a layer"),
        ("fair", "no list"),
        ("Et|tm|tL", "multi-token"),
        ("tE|tt|tL", "in the middle"),
        ("E||ttttL", "without a layer"),
        ("(E(t|", "no layout"),
        ("t*99999*9", "no layout"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Partition.of(text, COSTS, 3)


def test_a_partition_is_a_value() -> None:
    partition = Partition.covering([6, 6, 7, 6], 25)
    assert pickle.loads(pickle.dumps(partition)) == partition == Partition((6, 6, 7, 6))
    assert hash(partition) == hash(Partition((6, 6, 7, 6)))
    assert (str(partition), repr(partition)) == ("6,6,7,6", "<Partition 6,6,7,6>")


def test_a_model_is_cut_as_it_is_said_else_by_default() -> None:
    config = model_config("gpt-tiny")
    depth = len(layers(config))
    assert Partition.of_model(config, 2) == Partition.default(config, 2)
    assert Partition.of_model(config, 2, [1, depth - 1]).counts == (1, depth - 1)
