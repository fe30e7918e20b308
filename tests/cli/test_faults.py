"""Faults injected into the real command: it ends in time, says what docs/faults.md says, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from chimera.executor.jobs.manifest import checkpoint_folder, read_manifest
from chimera.pipeline.files.timeline_file import read_timeline
from tests.cli.faulty_runs import (
    DEADLINE_S,
    QUIET_DEADLINE_S,
    Ended,
    NotHereError,
    faulty,
    faulty_peer,
    folder_in_use,
    full_disk,
    given_port_taken,
    interrupted,
    network_cut,
    port_taken,
    starved,
    versions_differ,
)

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow, pytest.mark.timeout(900)]

INJECTED: dict[str, Callable[[Path], Ended]] = {
    "a rank is stopped": faulty("stopped", DEADLINE_S),
    "a computation never ends": faulty("busy", DEADLINE_S),
    "the peer never ends": faulty_peer("busy", DEADLINE_S),
    "the network is cut": network_cut,
    "a rank is killed": faulty("killed"),
    "memory is refused": faulty("out_of_memory"),
    "memory runs out": starved,
    "a program raises": faulty("raising"),
    "the disk is full": full_disk,
    "the folder is in use": folder_in_use,
    "the port is taken": port_taken,
    "the peer is killed": faulty_peer("killed"),
    "the given port is taken": given_port_taken,
    "the versions differ": versions_differ,
}
LATEST_S = 1.15 * DEADLINE_S + 8 * DEADLINE_S / QUIET_DEADLINE_S
"""after the fault, where a deadline notices it: 1.15 deadlines (docs/faults.md), and what is left to be written"""


class Row(NamedTuple):
    """A row of the page: the texts of the processes in rank order."""

    texts: list[str]
    status: int
    noticed: str


def _rows() -> dict[str, Row]:
    page = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    page = page.replace(f"deadline of {QUIET_DEADLINE_S} s", f"deadline of {DEADLINE_S} s")
    found = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and cells[2].isdigit():
            found[cells[0]] = Row(re.findall(r"`([^`]+)`", cells[1]), int(cells[2]), cells[3].strip(" |"))
    return found


ROWS = _rows()


@pytest.fixture(scope="module")
def endings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Ended]]]:
    """All that are asked for, three at a time: most of what they do is start, or wait for a deadline."""
    asked = {item.callspec.params.get("fault") for item in request.session.items if hasattr(item, "callspec")}
    folder = tmp_path_factory.mktemp("faults")
    with ThreadPoolExecutor(3) as pool:
        chosen = {name: run for name, run in INJECTED.items() if name in asked}
        yield {name: pool.submit(run, folder / name.replace(" ", "-")) for name, run in chosen.items()}


@pytest.fixture
def ended(endings: dict[str, Future[Ended]], fault: str) -> Ended:
    try:
        return endings[fault].result()
    except NotHereError as reason:
        pytest.skip(str(reason))


def test_the_page_has_a_row_for_every_fault_that_is_injected_and_no_other() -> None:
    assert set(ROWS) == set(INJECTED)


@pytest.mark.parametrize("fault", INJECTED)
def test_every_process_says_in_one_line_what_the_page_says(fault: str, ended: Ended) -> None:
    for stderr, text in zip(ended.errors, ROWS[fault].texts, strict=False):
        lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, stderr
        assert re.fullmatch("error: " + ".*".join(map(re.escape, text.split("…"))), lines[0]), stderr
        assert "Traceback" not in stderr


@pytest.mark.parametrize("fault", INJECTED)
def test_it_ends_in_time_with_the_status_of_the_page(fault: str, ended: Ended) -> None:
    """At once: by itself, under a deadline of an hour, which is not what ended it; else soon after its deadline."""
    row = ROWS[fault]
    assert ended.statuses[: max(len(row.texts), 1)] == (row.status,) * max(len(row.texts), 1), ended.errors
    if row.noticed == "deadline":
        assert (ended.output / "fault").exists() and ended.after_s < LATEST_S
    else:
        assert row.noticed == "at once"


@pytest.mark.parametrize("fault", INJECTED)
def test_no_process_and_no_half_written_file_is_left(fault: str, ended: Ended) -> None:
    folder = str(ended.output / "ranks")
    assert not [process for process in psutil.process_iter(["cmdline"]) if folder in (process.info["cmdline"] or ())]
    files = [path for path in ended.output.rglob("*") if path.is_file()]
    assert not [path for path in files if path.name.startswith(".") or path.suffix == ".part"]
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text())
    if (partial := ended.output / "partial-timeline.json").exists():
        assert read_timeline(partial).devices == 2
    if (manifest := read_manifest(ended.output)) is not None:
        kept = checkpoint_folder(ended.output) / manifest.folder
        digests = {name: hashlib.sha256((kept / name).read_bytes()).hexdigest() for name in manifest.files}
        assert digests == manifest.files


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    found = interrupted(tmp_path)
    assert found.statuses == (130,)
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path / "ranks") in (process.info["cmdline"] or ())
    ]
