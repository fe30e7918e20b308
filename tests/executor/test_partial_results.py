"""What journals of a run that was cut short may claim: whole iterations, of the right devices, truly labelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chimera.executor.jobs.results import losses, partial_results, timelines


def _line(action: str, number: int, **more: Any) -> dict[str, Any]:
    span = ["compute", action, number * 100 + 1, number * 100 + 5]
    times = {"begin_ns": number * 100, "end_ns": number * 100 + 9, "spans": [span], "transfers": [], "sent": {}}
    return {"label": "case", "round": 0, "loss": 0.5, "ranks": 2, "compute": "real", **times, **more}


def _journals(output: Path, *ranks: list[dict[str, Any]]) -> None:
    (output / "ranks").mkdir()
    for rank, lines in enumerate(ranks):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (output / "ranks" / f"rank-{rank}.jsonl").write_text(text)


def test_an_iteration_that_one_rank_did_not_complete_is_left_out(tmp_path: Path) -> None:
    _journals(tmp_path, [_line("0F0", 0), _line("0F0", 1)], [_line("1F0", 0)])
    found = partial_results(tmp_path, 2, {"case": 2})
    (timeline,) = timelines(found, "case")
    assert [(span.device, str(span.action)) for span in timeline.spans] == [(0, "0F0"), (1, "1F0")]
    assert losses(found, "case") == [1.0]


def test_no_rank_takes_the_place_of_one_that_completed_nothing(tmp_path: Path) -> None:
    for missing in (0, 1):
        output = tmp_path / str(missing)
        output.mkdir()
        rows = [[] if rank == missing else [_line(f"{rank}F0", 0)] for rank in (0, 1)]
        _journals(output, *rows)
        found = partial_results(output, 2, {"case": 2})
        assert timelines(found, "case") == [] and losses(found, "case") == []


def test_every_copy_of_the_pipeline_has_to_complete_it(tmp_path: Path) -> None:
    wide = [[_line(f"{rank % 2}F0", 0, ranks=4)] if rank < 3 else [] for rank in range(4)]
    _journals(tmp_path, *wide)
    assert timelines(partial_results(tmp_path, 4, {"case": 2}), "case") == []


def test_a_paced_run_cut_short_is_still_called_paced(tmp_path: Path) -> None:
    _journals(tmp_path, *([_line(f"{rank}F0", 0, compute="paced")] for rank in (0, 1)))
    (timeline,) = timelines(partial_results(tmp_path, 2, {"case": 2}), "case")
    assert timeline.source == "paced"


def test_ranks_that_a_case_leaves_idle_do_not_count(tmp_path: Path) -> None:
    _journals(tmp_path, [_line("0F0", 0)], [_line("1F0", 0)], [], [])
    (timeline,) = timelines(partial_results(tmp_path, 4, {"case": 2}), "case")
    assert timeline.devices == 2


def test_of_a_long_run_losses_are_all_read_and_spans_of_its_end(tmp_path: Path) -> None:
    _journals(tmp_path, *([_line(f"{rank}F0", number) for number in range(100 + rank)] for rank in (0, 1)))
    found = partial_results(tmp_path, 2, {"case": 2})
    assert losses(found, "case") == [1.0] * 100
    shown = timelines(found, "case")
    assert 0 < len(shown) < 10 and shown[-1].end_ns == 9
