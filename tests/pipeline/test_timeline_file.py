"""A timeline's file gives back the timeline, and a damaged one says where it is damaged."""

import json
from pathlib import Path
from typing import Any

import pytest

from chimera.pipeline.actions import parse_action
from chimera.pipeline.errors import InputError
from chimera.pipeline.files.timeline_file import read_timeline, timeline_json, write_timeline
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import MemoryEvent, Span, Timeline
from chimera.simulator import Profile, simulate


@pytest.fixture
def timeline() -> Timeline:
    return simulate(build("chimera", stages=4, microbatches=4), Profile.uniform(p2p="1ms")).timeline


def test_round_trip_of_a_prediction(timeline: Timeline, tmp_path: Path) -> None:
    path = tmp_path / "new" / "timeline.json"
    write_timeline(timeline, path)
    assert read_timeline(path) == timeline
    assert [file.name for file in path.parent.iterdir()] == ["timeline.json"]  # nothing temporary is left


def test_round_trip_of_everything_a_timeline_can_hold(tmp_path: Path) -> None:
    actions = map(parse_action, ("(0F1;1B0)OVERLAP_F_B", "0F2+3", "1B2.1", "1STEP"))
    spans = tuple(Span(0, "compute", action, i, i + 1) for i, action in enumerate(actions))
    memory = (MemoryEvent(0, -5, "framework", -7, "cause"),)
    original = Timeline("measured", "x", 1, spans, 4, (), memory, (9,), {"seed": 3, "versions": {"numpy": "2"}})
    write_timeline(original, tmp_path / "t.json")
    assert read_timeline(tmp_path / "t.json") == original


def test_the_document_states_version_and_units(timeline: Timeline) -> None:
    document = timeline_json(timeline)
    assert document["schema_version"] == 1
    assert set(document["spans"][0]) == {"device", "stream", "action", "start_ns", "end_ns"}
    assert {"size_bytes", "sent_ns"} < set(document["transfers"][0])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema_version"], 2, "reads schema_version 1"),
        (["schema_version"], True, "reads schema_version 1"),
        (["colour"], 1, "colour"),
        (["spans", 0, "stat_ns"], 1, r"spans\.0\.stat_ns"),
        (["spans", 3, "start_ns"], "soon", r"spans\.3\.start_ns"),
        (["spans", 0, "start_ns"], 0.5, r"spans\.0\.start_ns"),
        (["spans", 2, "action"], "0F", r"spans\.2: action '0F'"),
        (["spans", 2, "device"], 4, r"spans\.2.*device 4 of 4"),
        (["spans", 1, "end_ns"], -1, r"spans\.1\.end_ns = -1: is before"),
        (["transfers", 0, "action"], "(0F7;1B3)OVERLAP_F_B", r"transfers\.0.*no message"),
        (["transfers", 0, "target"], 9, r"transfers\.0.*device 9 of 4"),
        (["peak_memory_bytes"], [1], "1 values: there are 4 devices"),
        (["devices"], 0, "devices"),
    ],
)
def test_a_damaged_file_names_the_place(
    timeline: Timeline, tmp_path: Path, path: list[Any], value: object, message: str
) -> None:
    document: Any = timeline_json(timeline)
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    (tmp_path / "bad.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        read_timeline(tmp_path / "bad.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_timeline_at_all_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(InputError):
        read_timeline(tmp_path / "bad.json")


def test_a_missing_file_and_an_impossible_place_are_input_errors(timeline: Timeline, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_timeline(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_timeline(timeline, tmp_path / "file" / "t.json")
