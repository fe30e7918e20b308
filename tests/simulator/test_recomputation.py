"""Recomputing some stages only: times and peaks by formula, and how the option is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.files.schedule_file import read_schedule, schedule_json
from chimera.pipeline.schedules import build
from chimera.simulator import simulate
from tests.machines import stage_machine
from tests.sizes import examples

FORWARD, BACKWARD, ACTIVATIONS, INPUT = 1000, 2100, 500, 31
PROFILE = stage_machine(
    FORWARD,
    BACKWARD,
    size={"activation_bytes": ACTIVATIONS, "boundary_bytes": INPUT},
    input_bytes_per_sample=INPUT,
)


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.sets(st.integers(0, 5)))
def test_gpipe_with_some_stages_recomputed_is_a_flow_shop(depth: int, count: int, chosen: set[int]) -> None:
    # A permutation flow shop of equal jobs takes the sum over the machines and N - 1 times the slowest
    # one (Johnson 1954); GPipe is two of them, with b + f for a recomputing stage in the second.
    stages = sorted(stage for stage in chosen if stage < depth)
    schedule = build("gpipe", stages=depth, microbatches=count, recompute=",".join(map(str, stages)) or "none")
    backwards = [BACKWARD + FORWARD * (stage in stages) for stage in range(depth)]
    forward = depth * FORWARD + (count - 1) * FORWARD
    backward = sum(backwards) + (count - 1) * max(backwards)
    assert simulate(schedule, PROFILE).metrics.pipeline_ns == forward + backward


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.sets(st.integers(0, 5)))
def test_1f1b_keeps_inputs_in_recomputing_stages_and_activations_elsewhere(
    depth: int, count: int, chosen: set[int]
) -> None:
    # Stage s holds min(N, D - s) micro-batches (DAPPLE, arXiv 2007.01045): their activations, or their
    # inputs and, of the one whose backward runs, what is computed again. Messages are not on the way:
    # they are free, so a received input is taken over at once; a gradient waits for its backward.
    stages = sorted(stage for stage in chosen if stage < depth)
    schedule = build("dapple", stages=depth, microbatches=count, recompute=",".join(map(str, stages)) or "none")
    timeline = simulate(schedule, PROFILE).timeline
    for stage in range(depth):
        held = highest = 0
        for event in timeline.memory:
            if event.device == stage and event.category in ("activations", "workspace"):
                held += event.delta_bytes
                highest = max(highest, held)
        kept = min(count, depth - stage)
        assert highest == (kept * INPUT + ACTIVATIONS - INPUT if stage in stages else kept * ACTIVATIONS)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("all", True), ("true", True), (True, True), ("none", False), ("2,0,2", (0, 2)), ("0,1,2,3", True)],
)
def test_recomputation_is_said_with_words_or_stages(said: str | bool, meant: bool | tuple[int, ...]) -> None:
    assert build("dapple", stages=4, microbatches=4, recompute=said).recompute == meant


def test_doubling_recomputes_unless_told_which_stages() -> None:
    def built(**options: str) -> bool | tuple[int, ...]:
        return build("chimera", stages=4, microbatches=8, concat="doubling", **options).recompute

    assert built() is True and built(recompute="none") is False and built(recompute="3") == (3,)


def test_a_file_keeps_which_stages_recompute(tmp_path: Path) -> None:
    schedule = build("zb-h1", stages=4, microbatches=6, recompute="1,3")
    (tmp_path / "schedule.json").write_text(json.dumps(schedule_json(schedule)))
    assert read_schedule(tmp_path / "schedule.json") == schedule
