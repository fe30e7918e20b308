"""Profile files of version 2 say where each cost comes from; those of version 1 are read as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chimera.pipeline.errors import InputError
from chimera.pipeline.schedules import build
from chimera.simulator import Profile, load_profile, save_profile, simulate
from chimera.simulator.costs.layer_costs import LayerCost, SizeCost
from chimera.simulator.costs.profile_file import document, parse, shipped
from chimera.simulator.costs.stage_costs import stage_costs

STORED = Path(__file__).parent / "stored" / "profile-version-1.json"
"""written by the last version that wrote schema_version 1"""
WHOLE = SizeCost(1, 100, 200, activation_bytes=40, tokens=128, precision="bf16", source="published")
HALVED = replace(WHOLE, forward_ns=60, backward_ns=110, activation_bytes=20, tensor=2, source="estimated")


def table(*costs: SizeCost) -> Profile:
    return Profile("table", (LayerCost("block", costs, parameters=3, repeat=4),))


def test_a_stored_file_of_version_1_is_read_with_tensor_width_1() -> None:
    content, profile = json.loads(STORED.read_text()), load_profile(STORED)
    assert content.pop("schema_version") == 1
    costs = [cost for layer in profile.layers for cost in layer.costs]
    assert [(cost.tensor, cost.tokens, cost.precision, cost.source) for cost in costs] == [(1, None, None, None)] * 3
    written = document(profile)
    assert written.pop("schema_version") == 2
    for layer in written["layers"]:
        assert [cost.pop("tensor") for cost in layer["costs"]] == [1] * len(layer["costs"])
    assert written == content


@pytest.mark.parametrize(
    ("name", "microbatch_size", "iteration_ns", "peaks"),
    [  # what that version predicted from it
        ("dapple", 2, 239835, (1064704, 1069888)),
        ("dapple", 3, 296192, (1088256, 1088832)),
        ("zb-h1", 2, 227335, (1064704, 1102656)),
        ("zb-h1", 3, 276042, (1088256, 1137984)),
    ],
)
def test_a_file_of_version_1_predicts_what_it_did(
    name: str, microbatch_size: int, iteration_ns: int, peaks: tuple[int, ...]
) -> None:
    metrics = simulate(
        build(name, stages=2, microbatches=4), load_profile(STORED), microbatch_size=microbatch_size
    ).metrics
    assert metrics.iteration_ns == iteration_ns
    assert tuple(device.peak_memory_bytes for device in metrics.per_device) == peaks


@pytest.mark.parametrize("profile", [load_profile(STORED), *map(load_profile, shipped()), table(WHOLE, HALVED)])
def test_a_file_gives_back_the_profile_and_where_it_comes_from(profile: Profile, tmp_path: Path) -> None:
    save_profile(profile, tmp_path / "profile.json")
    again = load_profile(tmp_path / "profile.json")
    assert again == profile and again.provenance == profile.provenance
    assert json.loads((tmp_path / "profile.json").read_text())["schema_version"] == 2


def test_what_a_file_says_of_a_cost() -> None:
    (first, second) = document(table(WHOLE, HALVED))["layers"][0]["costs"]
    said = {"tensor": 1, "tokens": 128, "precision": "bf16", "source": "published"}
    assert said.items() <= first.items()
    assert (said | {"tensor": 2, "source": "estimated"}).items() <= second.items()


def test_costs_of_a_part_of_a_layer_are_carried_and_not_predicted_from() -> None:
    alone = table(WHOLE)
    for both in (table(WHOLE, HALVED), table(HALVED, WHOLE)):
        assert both.sizes == alone.sizes == (1,)
        assert [stage_costs(both, 2, size) for size in (1, 2)] == [stage_costs(alone, 2, size) for size in (1, 2)]
        schedule = build("dapple", stages=2, microbatches=4)
        assert simulate(schedule, both).metrics == simulate(schedule, alone).metrics


@pytest.mark.parametrize(
    ("change", "says", "remedy"),
    [
        (lambda cost: cost.update(tensor=0), "tensor = 0", "correct"),
        (lambda cost: cost.update(tensor=2), "has sizes [1, 1]", "for each tensor width"),
        (lambda cost: cost.update(tensor=4), "knows tensor width 2, 4 only", "width 1"),
        (lambda cost: cost.update(precision="fp8"), "precision = 'fp8'", "correct"),
        (lambda cost: cost.update(precision="float32"), "mixes precision: bf16, float32", "one profile for each"),
        (lambda cost: cost.update(tokens=64), "mixes tokens: 128, 64", "one profile for each"),
        (lambda cost: cost.update(source="guessed"), "source = 'guessed'", "correct"),
        (lambda cost: cost.update(tensors=1), "tensors", "did you mean 'tensor'?"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    change: Callable[[dict[str, Any]], None], says: str, remedy: str
) -> None:
    content = json.loads(json.dumps(document(table(WHOLE, HALVED))))
    change(content["layers"][0]["costs"][0])
    with pytest.raises(InputError) as refusal:
        parse(json.dumps(content), "table.json")
    assert says in refusal.value.problem
    assert remedy in refusal.value.remedy


@pytest.mark.parametrize("version", [0, 3, True, "2", None])
def test_other_versions_are_refused(version: object) -> None:
    content = json.dumps(document(table(WHOLE)) | {"schema_version": version})
    with pytest.raises(InputError, match="reads schema_version 1 and 2"):
        parse(content)
