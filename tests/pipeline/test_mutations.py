"""A thousand sound schedules made unsound in one place: none slips through, and the place is named."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product

import pytest

from chimera.pipeline.actions import Action, Kind, Step
from chimera.pipeline.errors import DeadlockError, InputError, ScheduleError
from chimera.pipeline.schedule import Option, Schedule
from chimera.pipeline.schedules import build, catalogue
from chimera.pipeline.soundness.check import check

Rows = list[list[Step]]
EACH = 200
"""mutations of each of the five kinds"""


@cache
def sound() -> tuple[Schedule, ...]:
    """Small instances of the whole catalogue, with every choice of every option that they admit."""
    found = []
    for item, devices, microbatches in product(catalogue(), (2, 3, 4), (2, 3, 4, 8)):
        one = [{name: value} for name, spec in item.options.items() for value in spec.choices or ()]
        choices: list[dict[str, Option]] = [{}, *one]
        for options in choices:
            try:
                found.append(build(item.name, stages=devices, microbatches=microbatches, **options))
            except InputError:
                continue
    return tuple(found)


def rows_of(schedule: Schedule) -> Rows:
    return [list(row) for row in schedule.actions]


def place(draw: random.Random, rows: Rows) -> tuple[int, int]:
    device = draw.choice([device for device, row in enumerate(rows) if row])
    return device, draw.randrange(len(rows[device]))


def verdict(schedule: Schedule, rows: Rows) -> ScheduleError:
    with pytest.raises(ScheduleError) as caught:
        check(replace(schedule, actions=tuple(map(tuple, rows))))
    assert caught.value.derived, "an error says what follows"
    return caught.value


def remove(schedule: Schedule, draw: random.Random) -> None:
    rows = rows_of(schedule)
    device, position = place(draw, rows)
    gone = rows[device].pop(position)
    error = verdict(schedule, rows)
    assert error.device == device
    assert any(f"{part.stage}" in str(error) and f"{part.microbatch}" in str(error) for part in gone.parts)


def double(schedule: Schedule, draw: random.Random) -> None:
    rows = rows_of(schedule)
    device, position = place(draw, rows)
    copy = draw.randrange(position + 1, len(rows[device]) + 1)
    rows[device].insert(copy, rows[device][position])
    error = verdict(schedule, rows)
    assert (error.device, error.position) == (device, copy)


def swap(schedule: Schedule, draw: random.Random) -> None:
    """An action and one that needs it on the same device change places."""
    rows = rows_of(schedule)
    while True:
        device, early = place(draw, rows)
        forwards = {
            (part.stage, m) for part in rows[device][early].parts if part.kind is Kind.F for m in part.microbatches
        }
        later = [
            position
            for position, action in enumerate(rows[device])
            if any(part.kind is not Kind.F and (part.stage, part.microbatch) in forwards for part in action.parts)
        ]
        if later:
            break
    late = draw.choice(later)
    row = rows[device]
    row[early], row[late] = row[late], row[early]
    error = verdict(schedule, rows)
    assert (error.device, error.position) == (device, early)


def move(schedule: Schedule, draw: random.Random) -> None:
    rows = rows_of(schedule)
    device, position = place(draw, rows)
    other = draw.choice([other for other in range(len(rows)) if other != device])
    insertion = draw.randrange(len(rows[other]) + 1)
    rows[other].insert(insertion, rows[device].pop(position))
    error = verdict(schedule, rows)
    assert (error.device, error.position) == (other, insertion)
    assert f"placed on device {device}" in str(error)


def tangle(schedule: Schedule, draw: random.Random) -> None:
    """Stage s holds back a forward until the backward of a micro-batch behind which stage s+1 waits for it."""
    candidates = tangles(schedule)
    if not candidates:
        pytest.skip("no two micro-batches in flight")
    device, forward, backward = draw.choice(candidates)
    rows = rows_of(schedule)
    held = rows[device].pop(forward)
    rows[device].insert(backward, held)
    error = verdict(schedule, rows)
    assert isinstance(error, DeadlockError)
    waiting = [one for one, _ in error.cycle]
    assert device in waiting and error.device in waiting
    assert [target for _, target in error.cycle] == waiting[1:] + waiting[:1]
    assert all(f"device {one} at " in str(error) for one in waiting)


@cache
def tangles_at(index: int) -> tuple[tuple[int, int, int], ...]:
    """(device, position of F(s, m'), position of B(s, m)) with F(s+1, m') before B(s+1, m), B(s, m') after B(s, m)."""
    schedule = sound()[index]
    at = {action: (d, p) for d, row in enumerate(schedule.actions) for p, action in enumerate(row)}
    found = []
    for action, (device, position) in at.items():
        if not isinstance(action, Action) or action.kind is not Kind.B or action.also >= 0 or action.half >= 0:
            continue
        stage, microbatch = action.stage, action.microbatch
        for other in range(schedule.microbatches):
            own = at.get(Action(stage, Kind.F, other)), at.get(Action(stage, Kind.B, other))
            next_ = at.get(Action(stage + 1, Kind.F, other)), at.get(Action(stage + 1, Kind.B, microbatch))
            if own[0] is None or own[1] is None or next_[0] is None or next_[1] is None:
                continue
            if own[0][0] != device or next_[0][0] != next_[1][0] or next_[0][0] == device:
                continue
            if own[0][1] < position < own[1][1] and next_[0][1] < next_[1][1]:
                found.append((device, own[0][1], position))
    return tuple(found)


def tangles(schedule: Schedule) -> tuple[tuple[int, int, int], ...]:
    return tangles_at(sound().index(schedule))


def suitable(mutate: Callable[[Schedule, random.Random], None]) -> list[Schedule]:
    """Data-parallel devices have nobody to wait for; one micro-batch in flight cannot be tangled."""
    return [schedule for schedule in sound() if mutate is not tangle or tangles(schedule)]


@pytest.mark.parametrize("mutate", [remove, double, swap, move, tangle], ids=lambda mutate: mutate.__name__)
def test_no_mutation_slips_through(mutate: Callable[[Schedule, random.Random], None]) -> None:
    draw = random.Random(2107)
    schedules = suitable(mutate)
    names = {schedule.name for schedule in schedules}
    assert len(names) >= 3
    for _ in range(EACH):
        mutate(draw.choice(schedules), draw)


def test_the_originals_are_sound() -> None:
    for schedule in sound():
        check(schedule)
