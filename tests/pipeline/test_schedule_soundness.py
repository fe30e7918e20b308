"""Every generator against a brute-force judge that shares no code with `soundness.check` or `lowering.order`.

The judge moves through the rows one action at a time, whichever device can, with sets of finished
work: the definitions of schedules.md written down once more, naively.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build, catalogue
from tests.sizes import examples
from tests.strategies import chimeras, divisors, schedules

Work = tuple[str, int, int, int]
"""A letter (F, and for backwards I and W), a stage, a micro-batch, and a half 0 or 1 (0 for F)."""


def work_of(text: str) -> list[Work]:
    """What one plain action does, from its text alone."""
    letter = next(c for c in text if c in "FBIW")
    stage, _, rest = text.partition(letter)
    if letter == "F":
        return [("F", int(stage), int(m), 0) for m in rest.split("+")]
    microbatch, _, half = rest.partition(".")
    return [
        (part, int(stage), int(microbatch), h)
        for part in ("IW" if letter == "B" else letter)
        for h in ([int(half)] if half else [0, 1])
    ]


def needs_of(work: Work, stages: int) -> set[Work]:
    letter, stage, microbatch, half = work
    if letter == "F":
        return {("F", stage - 1, microbatch, 0)} if stage else set()
    if letter == "W":
        return {("I", stage, microbatch, half)}
    needs = {("F", stage, microbatch, 0)}
    if stage < stages - 1:
        needs.add(("I", stage + 1, microbatch, half))
    return needs


def faults_of(schedule: Schedule) -> list[str]:
    """What is wrong: work on another device than its replica's placement, missing, repeated, or waiting for ever."""
    rows = [[[work_of(str(part)) for part in step.parts] for step in row] for row in schedule.actions]
    pieces = [(device, work) for device, row in enumerate(rows) for step in row for part in step for work in part]
    found = [
        f"{work} on device {device}"
        for device, work in pieces
        if schedule.placement[schedule.replica_of[work[2]]][work[1]] != device
    ]
    counts = Counter(work for _, work in pieces)
    wanted = Counter(
        (letter, stage, m, half)
        for stage in range(schedule.stages)
        for m in range(schedule.microbatches)
        for letter, halves in (("F", 1), ("I", 2), ("W", 2))
        for half in range(halves)
    )
    found += [f"{work} is missing" for work in wanted - counts] + [f"{work} is too many" for work in counts - wanted]
    return found + [f"device {device} waits for ever" for device in _waiting(rows, schedule.stages)]


def _waiting(rows: list[list[list[list[Work]]]], stages: int) -> list[int]:
    """The devices that do not come to the end of their rows."""
    done: set[Work] = set()
    places = [0] * len(rows)
    moved = True
    while moved:
        moved = False
        for device, row in enumerate(rows):
            while places[device] < len(row):
                step = row[places[device]]
                # Parts of an overlap run together, so none may need another; a B makes its own I for its W.
                if not all(
                    needs_of(w, stages) <= done | (set(part) if w[0] == "W" else set()) for part in step for w in part
                ):
                    break
                done.update(w for part in step for w in part)
                places[device] += 1
                moved = True
    return [device for device, row in enumerate(rows) if places[device] < len(row)]


@given(schedules())
@settings(max_examples=examples(150))
def test_every_generator_is_sound(schedule: Schedule) -> None:
    assert faults_of(schedule) == []


@given(chimeras())
@settings(max_examples=examples(150))
def test_every_chimera_is_sound(schedule: Schedule) -> None:
    assert faults_of(schedule) == []


@given(chimeras())
def test_chimera_deals_evenly_and_in_runs(schedule: Schedule) -> None:
    """Chimera, section 3.1: D/(2f) consecutive micro-batches to each pipeline; as even as possible for N < D."""
    depth, pipelines = schedule.stages, schedule.replicas
    if schedule.microbatches < depth:
        shares = Counter(schedule.replica_of)
        counts = [shares[replica] for replica in range(pipelines)]
        assert max(counts) - min(counts) <= 1
    doubled = schedule.options["concat"] == "doubling" and schedule.microbatches >= 2 * depth
    unit = schedule.replica_of[: 2 * depth if doubled else depth]
    assert list(unit) == sorted(unit)
    if len(unit) >= depth:
        assert set(Counter(unit).values()) == {len(unit) // pipelines}


@given(st.integers(1, 8), st.data())
def test_chimera_slots_never_collide(half: int, data: st.DataObject) -> None:
    """The overlay theorem: slot s+2k and 2D-1-s+2k of all 2f pipelines cover a device's slots modulo 2D once."""
    depth = 2 * half
    pairs = data.draw(st.sampled_from(divisors(half)))
    schedule = build("chimera", stages=depth, microbatches=depth, pairs=pairs)
    for device in range(depth):
        residues = [
            slot % (2 * depth)
            for replica in range(2 * pairs)
            for k in range(depth // (2 * pairs))
            for stage in [schedule.placement[replica].index(device)]
            for slot in (stage + 2 * k, 2 * depth - 1 - stage + 2 * k)
        ]
        assert sorted(residues) == list(range(2 * depth))


@pytest.mark.parametrize("name", [item.name for item in catalogue() if not item.reads_file])
def test_the_smallest_and_a_plain_case_of_every_schedule(name: str) -> None:
    assert faults_of(build(name, stages=2, microbatches=4)) == []
    assert faults_of(build(name, stages=4, microbatches=8)) == []


def test_the_judge_sees_what_it_should() -> None:
    good = build("dapple", stages=2, microbatches=2)
    assert faults_of(good) == []
    rows = [list(row) for row in good.actions]
    rows[0][0], rows[0][-1] = rows[0][-1], rows[0][0]
    for spoilt, fault in (
        (rows, "waits for ever"),
        ([rows[0][:-1], rows[1]], "is missing"),
        ([rows[1], rows[0]], "on device"),
    ):
        assert fault in " ".join(faults_of(replace(good, actions=tuple(map(tuple, spoilt)))))
