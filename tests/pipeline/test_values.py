"""Schedules, plans and timelines are values: equal by content, hashed alike, picklable, shown in one line."""

from __future__ import annotations

import pickle
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.pipeline.actions import Kind, parse_action
from chimera.pipeline.content import FrozenDict, canonical
from chimera.pipeline.errors import ChimeraError, DeadlockError, InputError, UnknownNameError
from chimera.pipeline.files.schedule_file import read_schedule
from chimera.pipeline.files.schedule_json import schedule_json
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Plan, Schedule, require_schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import MemoryEvent, Span, Timeline, Transfer
from tests.grids import NAMES
from tests.strategies import schedules

PLAIN = (str, int, float, bool, type(None))


def example(name: str) -> Schedule:
    """The smallest size that every schedule of the catalogue admits: even D, even N of at least 2D."""
    return build(name, stages=4, microbatches=8)


def forward_and_message() -> Timeline:
    span, receive = Span(0, "compute", parse_action("0F0"), 0, 5), parse_action("1RECV_F0")
    transfer = Transfer(receive, 0, 1, 12, 0, 5, 7, 7)  # type: ignore[arg-type]
    return Timeline("predicted", "x", 2, (span,), 9, (transfer,), (MemoryEvent(0, 0, "weights", 4, ""),), (4, 0))


def copies(value: object) -> object:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("name", NAMES)
def test_every_schedule_and_its_plan_come_back_from_a_pickle(name: str) -> None:
    schedule = example(name)
    for value in (schedule, lower(schedule)):
        again = copies(value)
        assert again == value and hash(again) == hash(value) and again is not value


def test_a_schedule_from_a_file_comes_back_from_a_pickle(tmp_path: object) -> None:
    import json

    path = tmp_path / "order.json"  # type: ignore[operator]
    path.write_text(json.dumps(schedule_json(example("chimera"))))
    custom = build("custom", stages=4, microbatches=8, file=str(path))
    assert copies(custom) == custom
    assert read_schedule(path) == example("chimera")


@given(schedules(max_stages=4, max_microbatches=8), schedules(max_stages=4, max_microbatches=8))
def test_what_is_equal_hashes_alike_and_what_differs_has_another_digest(one: Schedule, other: Schedule) -> None:
    again = replace(one)
    assert one == again and hash(one) == hash(again) and one.digest == again.digest
    # the fields as a tuple, compared by Python itself, say what equality ought to say
    fields = [tuple(getattr(value, name) for name in Schedule.__slots__) for value in (one, other)]
    assert (one == other) == (fields[0] == fields[1]) == (one.digest == other.digest)
    assert {one: 1}.get(other) == (1 if one == other else None)


@given(schedules(max_stages=4, max_microbatches=8), st.data())
def test_every_field_counts(schedule: Schedule, data: st.DataObject) -> None:
    other = data.draw(
        st.sampled_from(
            [
                {"name": schedule.name + "'"},
                {"options": {**schedule.options, "other": 1}},
                {"recompute": schedule.recompute is not True},
                {"sync": "end" if schedule.sync != "end" else "eager"},
                {"update": "2bw" if schedule.update != "2bw" else "flush"},
                {"actions": (schedule.actions[0][1:], *schedule.actions[1:])},
            ]
        )
    )
    changed = replace(schedule, **other)  # type: ignore[arg-type]
    assert changed != schedule and changed.digest != schedule.digest
    assert changed != schedule  # also once both digests are known


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (2, 2.0), (0, False), (-0.0, 0), (1e30, 10**30 + 19884624838656)]
)
def test_numbers_that_python_calls_equal_hash_alike_in_options(one: float, other: float) -> None:
    assert one == other
    first, second = (replace(example("gpipe"), options={"a": value}) for value in (one, other))
    assert first == second and hash(first) == hash(second)


def test_half_and_doubled_actions_differ_in_the_digest() -> None:
    halves, doubled, direct = (
        build("chimera", stages=4, microbatches=8, concat=how, recompute="none")
        for how in ("halving", "doubling", "direct")
    )
    same = [replace(each, options={}, recompute=False).digest for each in (halves, doubled, direct)]
    assert len(set(same)) == 3


def test_options_cannot_be_changed_behind_a_hash() -> None:
    options = {"a": 1}
    schedule = replace(example("gpipe"), options=options)
    options["a"] = 2
    assert schedule.options == {"a": 1}
    for change in (
        lambda kept: kept.update(a=2),
        lambda kept: kept.__setitem__("a", 2),
        lambda kept: kept.pop("a"),
        lambda kept: kept.clear(),
        lambda kept: kept.setdefault("b", 1),
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            change(schedule.options)  # type: ignore[no-untyped-call]
    assert copies(schedule.options) == {"a": 1} and isinstance(copies(schedule.options), FrozenDict)


def test_the_digest_is_the_same_in_every_process() -> None:
    """Not Python's hash, whose text part changes from one process to the next: recorded once."""
    assert canonical({"b": 1.0, "a": (True, None, 0.5, Kind.F)}) == [["a", [1, None, 0.5, "F"]], ["b", 1]]
    import subprocess
    import sys

    code = "from chimera.pipeline.schedules import build; print(build('chimera', stages=4, microbatches=8).digest)"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert elsewhere == example("chimera").digest


def test_where_a_timeline_comes_from_is_no_part_of_what_it_says() -> None:
    timeline = forward_and_message()
    dated = replace(timeline, provenance={"date": "today"})
    assert dated == timeline and hash(dated) == hash(timeline)
    assert replace(timeline, end_ns=10) != timeline
    assert copies(dated) == timeline and copies(dated).provenance == {"date": "today"}  # type: ignore[attr-defined]


def shown() -> list[Schedule | Plan | Timeline]:
    schedule = example("dualpipe")
    odd = replace(schedule, name="<b>\n" + "very long " * 100)
    timeline = forward_and_message()
    values = [
        schedule,
        lower(schedule),
        odd,
        Plan(odd, odd.actions, ()),
        timeline,
        replace(timeline, schedule=odd.name),
    ]
    return values  # type: ignore[return-value]


def test_a_value_is_one_line() -> None:
    assert repr(example("chimera")) == "<Schedule chimera D=4 N=8: 4 stages, 2 replicas, 64 actions>"  # 2 x 4 x 8
    assert repr(forward_and_message()) == "<Timeline predicted D=2: x, 9 ns, 1 spans, 1 transfers>"
    for value in shown():
        assert len(repr(value)) < 200 and "\n" not in repr(value) and str(value) == repr(value)


class Tags(HTMLParser):
    """The tags of a document, with those left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_notebook_shows_a_small_table_with_names_escaped() -> None:
    for value in shown():
        tags = Tags(value._repr_html_())
        assert tags.names <= {"table", "caption", "tr", "th", "td"} and not tags.open
        assert len(value._repr_html_()) < 20_000


def test_records_are_flat_and_complete() -> None:
    schedule = example("dualpipe")
    for value in shown():
        assert all(isinstance(entry, PLAIN) for record in value.records() for entry in record.values())
    parts = [part for row in schedule.actions for action in row for part in action.parts]
    assert [(r["stage"], r["kind"], r["microbatch"]) for r in schedule.records()] == [(p[0], p[1], p[2]) for p in parts]
    span, transfer = forward_and_message().records()
    assert (span["device"], span["action"], span["start_ns"], span["duration_ns"]) == (0, "0F0", 0, 5)
    assert (transfer["device"], transfer["from_device"], transfer["size_bytes"], transfer["end_ns"]) == (1, 0, 12, 7)


@pytest.mark.parametrize("wrong", ["8", 8.0, True, None, [8]])
@pytest.mark.parametrize("which", ["stages", "microbatches"])
def test_a_size_of_another_type_is_refused_in_a_sentence(which: str, wrong: object) -> None:
    sizes = {"stages": 4, "microbatches": 8} | {which: wrong}
    with pytest.raises(InputError, match=f"{which} = .*not a whole number") as refusal:
        build("gpipe", **sizes)  # type: ignore[arg-type]
    assert f"{which}=8" in refusal.value.remedy


def test_whole_numbers_of_numpy_will_do() -> None:
    import numpy as np

    assert build("gpipe", stages=np.int64(4), microbatches=np.int32(8)) == example("gpipe")  # type: ignore[arg-type]
    assert type(build("gpipe", stages=np.int64(4), microbatches=8).stages) is int  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, 3, ["gpipe"]])
def test_a_name_of_another_type_is_refused_in_a_sentence(name: object) -> None:
    with pytest.raises(InputError, match="not a name"):
        build(name, stages=4, microbatches=8)  # type: ignore[arg-type]


def test_a_name_is_no_schedule() -> None:
    schedule = example("gpipe")
    assert require_schedule(schedule) is schedule and require_schedule(plan := lower(schedule)) is plan
    with pytest.raises(InputError, match="'chimera'.* is a name") as refusal:
        require_schedule("chimera")
    assert "build('chimera'" in refusal.value.remedy
    with pytest.raises(InputError, match="NoneType"):
        require_schedule(None)


ERRORS = [
    InputError("2 stages", "are too few", "give 4"),
    InputError("2 stages"),
    UnknownNameError("schedule", "dappel", ["dapple", "gpipe"]),
    DeadlockError("device 0", "waits", "swap", device=0, position=3, cycle=((0, 1), (1, 0))),
]


def test_the_text_of_an_error_holds_its_remedy() -> None:
    assert [str(error) for error in ERRORS[:3]] == [
        "2 stages: are too few; give 4",
        "2 stages",
        "unknown schedule 'dappel'; did you mean 'dapple'? valid: dapple, gpipe",
    ]
    assert ERRORS[0].problem == "2 stages: are too few"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_crosses_to_another_process_whole(error: ChimeraError) -> None:
    again = copies(error)
    assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)
