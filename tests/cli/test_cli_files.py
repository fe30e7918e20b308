"""Schedules in and out of files through the command, and the files that predictions leave."""

import json
from pathlib import Path
from typing import Any

import pytest

SIZE = ("--stages", 4, "--microbatches", 4)
UNIFORM = ("--forward", "1ms", "--backward", "2ms")
# GPipe, D = 2, N = 2, written by hand in torch's compute-only CSV
GPIPE = "0F0,0F1,0B0,0B1\n1F0,1F1,1B0,1B1\n"


def test_json_of_a_schedule_is_the_contracts(chimera: Any) -> None:
    document = chimera("schedule", "chimera", *SIZE, "--format", "json").document
    assert document["placement"] == [[0, 1, 2, 3], [3, 2, 1, 0]]
    assert document["replica_of"] == [0, 0, 1, 1]
    # the first row of ../shared/cli.md: device 0 is stage 0 going down and stage 3 going up
    assert document["actions"][0] == ["0F0", "0F1", "3F2", "3B2", "3F3", "3B3", "0B0", "0B1"]
    assert (document["schema_version"], document["stages"], document["devices"], document["microbatches"]) == (
        1,
        4,
        4,
        4,
    )


def test_csv_of_a_schedule_is_torchs(chimera: Any) -> None:
    done = chimera("schedule", "gpipe", "--stages", 2, "--microbatches", 2, "--format", "csv")
    assert done.stdout == GPIPE


def test_a_grid_shows_every_device_and_idle_slots(chimera: Any) -> None:
    lines = chimera("schedule", "gpipe", "--stages", 2, "--microbatches", 1).stdout.splitlines()
    # forward one slot, backward two: the second device's backward ends before the first one's begins
    assert [line.split()[2:] for line in lines[1:]] == [
        ["0F0", ".", ".", ".", "0B0", "="],
        [".", "1F0", "1B0", "=", ".", "."],
    ]


def test_lowered_rows_hold_messages_and_steps(chimera: Any) -> None:
    rows = chimera("schedule", "chimera", *SIZE, "--format", "json", "--lowered").document["actions"]
    assert {"0SEND_F0", "0REDUCE_GRAD", "0STEP"} <= set(rows[0])
    assert "1RECV_F0" in rows[1]


def test_settings_reach_the_schedule(chimera: Any) -> None:
    arguments = ("--stages", 8, "--microbatches", 8, "--set", "pairs=2", "--set", "recompute=true", "--format", "json")
    document = chimera("schedule", "chimera", *arguments).document
    assert document["options"]["pairs"] == 2 and document["options"]["recompute"] is True
    assert len(document["placement"]) == 4  # 2f directions


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize("lowered", [(), ("--lowered",)])
def test_a_written_schedule_is_sound_and_predicts_the_same(
    chimera: Any, tmp_path: Path, form: str, lowered: tuple[str, ...]
) -> None:
    path = tmp_path / f"order.{form}"
    assert chimera("schedule", "dapple", *SIZE, "--format", form, *lowered, "--output", path).status == 0
    assert chimera("check", path).status == 0
    by_file = chimera("simulate", path, *UNIFORM, "--json").document
    by_name = chimera("simulate", "dapple", *SIZE, *UNIFORM, "--json").document
    assert by_file["pipeline_s"] == by_name["pipeline_s"]


def test_a_files_size_must_be_the_one_that_is_given(chimera: Any, tmp_path: Path) -> None:
    (tmp_path / "order.csv").write_text(GPIPE)
    done = chimera("simulate", tmp_path / "order.csv", "--stages", 4, "--microbatches", 2, *UNIFORM)
    assert done.status == 2 and "--stages 4" in done.stderr


def test_check_points_at_an_unsound_cell(chimera: Any, tmp_path: Path) -> None:
    (tmp_path / "order.csv").write_text(GPIPE.replace("1F1,1B0", "1B0,1F1").replace("1F0,1B0", "1B0,1F0"))
    done = chimera("check", tmp_path / "order.csv")
    assert done.status == 1
    assert "device 1, position 0" in done.stderr and "ERROR HERE" in done.stderr


def test_check_finds_a_deadlock_of_the_transport(chimera: Any, tmp_path: Path) -> None:
    """Each device sends before it receives: fine with buffers, stuck where a send waits for its receive."""
    rows = [
        ["0F0", "0SEND_F0", "0F1", "0SEND_F1", "0RECV_B0", "0B0", "0RECV_B1", "0B1"],
        ["1RECV_F0", "1F0", "1B0", "1SEND_B0", "1RECV_F1", "1F1", "1B1", "1SEND_B1"],
    ]
    path = tmp_path / "order.csv"
    path.write_text("\n".join(",".join(row) for row in rows))
    assert chimera("check", path).status == 0
    done = chimera("check", path, "--semantics", "rendezvous")
    assert done.status == 1 and "waits for" in done.stderr


def test_check_json_is_a_document_also_when_unsound(chimera: Any, tmp_path: Path) -> None:
    path = tmp_path / "order.csv"
    path.write_text(GPIPE)
    assert chimera("check", path, "--json").document["sound"] is True
    path.write_text(GPIPE.replace("0B1", "0B0"))
    done = chimera("check", path, "--json")
    assert done.status == 1 and done.document["sound"] is False
    assert "stands already" in done.document["reason"]


def test_check_takes_a_placement_for_replicas(chimera: Any, tmp_path: Path) -> None:
    schedule = chimera("schedule", "chimera", *SIZE, "--format", "json").document
    order, placement = tmp_path / "order.csv", tmp_path / "placement.json"
    order.write_text("\n".join(",".join(row) for row in schedule["actions"]))
    placement.write_text(json.dumps(schedule["placement"]))
    assert chimera("check", order, "--placement", placement).status == 0


def test_a_trace_opens_as_chrome_trace(chimera: Any, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "trace.json"
    assert chimera("simulate", "gpipe", "--stages", 2, "--microbatches", 3, *UNIFORM, "--trace", path).status == 0
    events = json.loads(path.read_text())["traceEvents"]
    assert sum(event["ph"] == "X" and event["cat"] in "FB" for event in events) == 2 * 3 * 2


@pytest.mark.parametrize("command", ["simulate", "compare"])
def test_pictures_are_drawn(chimera: Any, tmp_path: Path, command: str) -> None:
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        path = tmp_path / f"picture{suffix}"
        assert chimera(command, "chimera", *SIZE, *UNIFORM, "--plot", path).status == 0
        assert path.read_bytes().startswith(start)


def test_schedules_lists_options_and_sources(chimera: Any) -> None:
    entries = {entry["name"]: entry for entry in chimera("schedules", "--json").document["schedules"]}
    assert {"gpipe", "dapple", "chimera", "gems", "pipedream", "pipedream-2bw", "interleaved"} <= entries.keys()
    assert "1f1b" in entries["dapple"]["aliases"]
    assert "even" in entries["chimera"]["constraints"]
    assert entries["chimera"]["options"]["pairs"]["default"] == 1
    assert all(entry["source"] for entry in entries.values() if entry["name"] != "custom")


def test_a_deadlock_in_a_lowered_file_is_marked_at_its_computation_and_answered_with_a_command(
    chimera: Any, tmp_path: Path
) -> None:
    """Device 1 sends back before it has received: the second row's first computation is what never starts."""
    path = tmp_path / "order.csv"
    path.write_text(
        "0F0,0SEND_F0,0RECV_B0,0B0,0F1,0SEND_F1,0RECV_B1,0B1\n1RECV_F1,1F1,1B1,1SEND_B1,1RECV_F0,1F0,1B0,1SEND_B0\n"
    )
    done = chimera("check", path)
    assert done.status == 1
    marked = done.stderr.splitlines()
    place = next(number for number, line in enumerate(marked) if "ERROR HERE" in line)
    column = marked[place].index("^")
    assert marked[place - 1][column:].startswith(("1F1", "0B0", "0F1"))
    assert "hint:" in done.stderr


def test_sharding_actions_are_noted_once(chimera: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "order.csv"
    path.write_text("0UNSHARD,0F0,0B0,0REDUCE_GRAD,0RESHARD\n")
    assert chimera("check", path).status == 0
    assert caplog.text.count("UNSHARD/RESHARD") == 1
