"""Schedules as JSON documents: round trips, and everything that must be refused with its place."""

import json

import pytest

from chimera.pipeline.actions import parse_action
from chimera.pipeline.errors import InputError, ScheduleError
from chimera.pipeline.files.schedule_file import read_placement, read_plan, read_schedule, schedule_json
from chimera.pipeline.lowering.lower import lower
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from chimera.pipeline.soundness.check import check_plan
from tests.pipeline.by_hand import everything
from tests.pipeline.conftest import Write


@pytest.mark.parametrize("schedule", everything())
def test_json_round_trip(schedule: Schedule, write: Write) -> None:
    path = write(json.dumps(schedule_json(schedule)))
    assert read_schedule(path) == schedule
    plan = lower(schedule, receives="late")
    lowered = write(json.dumps(schedule_json(plan)))
    assert read_plan(lowered) == plan
    assert read_schedule(lowered) == schedule


def test_the_document_is_the_published_one() -> None:
    """The keys and the example of the command's contract (Chimera D = N = 4)."""
    document = schedule_json(build("chimera", stages=4, microbatches=4))
    expected = {
        "schema_version": 1,
        "schedule": "chimera",
        "stages": 4,
        "devices": 4,
        "microbatches": 4,
        "placement": [[0, 1, 2, 3], [3, 2, 1, 0]],
        "replica_of": [0, 0, 1, 1],
    }
    assert {key: document[key] for key in expected} == expected
    assert document["actions"][0] == ["0F0", "0F1", "3F2", "3B2", "3F3", "3B3", "0B0", "0B1"]


def document(**changes: object) -> str:
    """A sound document of one device with changed keys; None removes a key."""
    whole = {**schedule_json(build("gpipe", stages=1, microbatches=1)), **changes}
    return json.dumps({key: value for key, value in whole.items() if value is not None})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (document()[:-20], "cut off"),
        (document()[:60], "not JSON at line 1, column .*: the file is cut off"),
        ("{", "cut off"),
        ("[1, 2]", "holds a list"),
        (document(schema_version=2), "schema_version is 2: this version reads schema 1"),
        (document(schema_version=None), "schema_version is None"),
        (document(schema_version="1"), "schema_version is '1'"),
        (document(schema_version=True), "schema_version is True"),
        (document(colour="red"), "colour"),
        (document(stages=None), "stages"),
        (document(stages="1"), "stages"),
        (document(stages=0), "stages"),
        (document(microbatches=1.5), "microbatches"),
        (document(placement=[[-1]]), r"placement\.0\.0"),
        (document(replica_of=[True]), r"replica_of\.0"),
        (document(actions=[["0F0", 7]]), r"actions\.0\.1"),
        (document(actions=[["0F0", "0B0junk"]]), "device 0, position 1: action '0B0junk'"),
        (document(sync="never"), "sync"),
        ("[" * 100_000, "nested too deeply|not JSON"),
    ],
)
def test_bad_documents_are_refused_with_their_place(write: Write, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_schedule(write(text))


def test_a_file_cut_anywhere_is_refused(write: Write) -> None:
    whole = document(placement=None) + "\n"
    for length in range(1, len(whole) - 2):
        with pytest.raises(InputError, match="cut off|not JSON"):
            read_schedule(write(whole[:length]))


def test_a_wrong_order_in_a_document_is_found(write: Write) -> None:
    plan = schedule_json(lower(build("gpipe", stages=2, microbatches=2)))
    path = write(json.dumps({**plan, "order": sorted(plan["order"], reverse=True)}))
    with pytest.raises(ScheduleError, match="global order"):
        check_plan(read_plan(path))


def test_a_compute_file_is_lowered_on_the_way(write: Write) -> None:
    schedule = build("dapple", stages=3, microbatches=4)
    assert read_plan(write(json.dumps(schedule_json(schedule)))) == lower(schedule)


def test_json_has_a_placement_of_its_own(write: Write) -> None:
    with pytest.raises(InputError, match="placement of its own"):
        read_schedule(write(document()), placement=[[0]])


def test_placement_files(write: Write) -> None:
    assert read_placement(write("[[0, 1], [1, 0]]")) == ((0, 1), (1, 0))
    assert read_placement(write('{"placement": [[0, 1]]}')) == ((0, 1),)
    for text in ("[0, 1]", "[]", "{}", "[[0, -1]]", "[[true]]", "[[0"):
        with pytest.raises(InputError):
            read_placement(write(text))


def test_actions_read_are_the_actions_written(write: Write) -> None:
    """Every word of ours, in a document: doubled forwards, halves, overlaps."""
    rows = [["0F0+1", "(0F2;0B0)OVERLAP_F_B", "0I1", "0W1", "0B2.0", "0B2.1"]]
    text = document(microbatches=3, replica_of=[0, 0, 0], actions=rows)
    assert read_schedule(write(text)).actions == (tuple(map(parse_action, rows[0])),)
