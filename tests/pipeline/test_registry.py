"""The registry: names, aliases, options and how it refuses; and how long generating takes."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.schedules import build, catalogue, entry, register


def test_every_entry_says_what_it_is() -> None:
    for item in catalogue():
        assert item.source and item.constraints and item.bubble and item.activations, item.name
        assert all(spec.help for spec in item.options.values())
        assert all(spec.choices is None or spec.default in (None, *spec.choices) for spec in item.options.values())


def test_catalogue_is_in_order_and_aliases_lead_to_their_schedule() -> None:
    names = [item.name for item in catalogue()]
    assert names == sorted(names)
    for item in catalogue():
        assert all(entry(alias) is item for alias in (item.name, *item.aliases))
    assert entry("1f1b").name == entry("pipedream-flush").name == "dapple"
    assert entry("looped-bfs").name == "breadth-first"


def test_a_name_cannot_be_taken_twice() -> None:
    catalogue()
    for name, aliases in (("gpipe", ()), ("something-new", ("1f1b",))):
        with pytest.raises(AssertionError, match="twice"):
            register(name, aliases=aliases)(entry("gpipe").generate)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("chimera", {"pairs": "two"}, "pairs = 'two': chimera takes int there"),
        ("chimera", {"pairs": True}, "pairs = True: chimera takes int there"),
        ("chimera", {"pairs": 0}, "pairs = 0"),
        ("chimera", {"pairs": -1}, "pairs = -1"),
        ("chimera", {"recompute": 1}, "recompute = 1: says neither all, none nor which stages"),
        ("dapple", {"recompute": "first"}, "recompute = first: says neither all, none nor which stages"),
        ("dapple", {"recompute": "0,4"}, "recompute of stage 4: there are stages 0 to 3"),
        ("chimera", {"concat": "tripling"}, "unknown chimera concat 'tripling'"),
        ("gpipe", {"order": "filo"}, "unknown gpipe order 'filo'"),
        ("gpipe", {"ordr": "lifo"}, "unknown option of gpipe 'ordr'"),
        ("interleaved", {"v": 0}, "v = 0"),
        ("interleaved", {"group": -1}, "group = -1"),
        ("interleaved", {"group": 2}, "8 micro-batches in groups of 2 on 4 devices: a group of fewer"),
        ("breadth-first", {"v": -2}, "v = -2"),
    ],
)
def test_refusals_name_the_option(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as refusal:
        build(name, stages=4, microbatches=8, **options)
    assert says in str(refusal.value) and refusal.value.remedy and refusal.value.exit_status == 2


@pytest.mark.parametrize(
    ("name", "stages", "microbatches", "says"),
    [
        ("chimera", 5, 5, "use 6 stages or 4"),
        ("chimera", 1, 1, "use 2 stages"),
        ("gems", 3, 3, "use 4 stages"),
        ("dapple", 4, 0, "--microbatches 1"),
        ("dapple", 0, 4, "--stages 1"),
        ("gpipe", -1, 4, "--stages 1"),
        ("pipedream-2bw", 4, 3, "at least 4 micro-batches"),
        ("data-parallel", 4, 3, "at least 4 micro-batches"),
    ],
)
def test_refusals_say_what_would_fit(name: str, stages: int, microbatches: int, says: str) -> None:
    with pytest.raises(InputError) as refusal:
        build(name, stages=stages, microbatches=microbatches)
    assert says in refusal.value.remedy


def test_an_unknown_name_is_answered_with_the_closest_and_all() -> None:
    with pytest.raises(UnknownNameError) as refusal:
        entry("dappel")
    assert "did you mean 'dapple'?" in refusal.value.remedy and "gpipe" in refusal.value.remedy


FAST = ["gpipe", "dapple", "chimera", "gems", "pipedream", "interleaved", "breadth-first", "data-parallel"]


@pytest.mark.parametrize("name", FAST)
def test_512_micro_batches_on_32_stages_take_half_a_second_at_most(name: str) -> None:
    build(name, stages=2, microbatches=2)
    gc.collect()
    start = time.process_time()
    schedule = build(name, stages=32, microbatches=512)
    assert time.process_time() - start < 0.5
    assert sum(map(len, schedule.actions)) >= 2 * 32 * 512
