"""Which iterations count: nothing has a say in which of its own rounds do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.calibration.measuring.disturbances import keep_undisturbed
from chimera.pipeline.errors import InputError

MS = 10**6


def results(durations_ms: dict[str, list[int]]) -> list[dict[str, Any]]:
    """What one rank brings back of iterations that took so long, a round each."""
    cases = {
        label: [
            {
                "begin_ns": 0,
                "end_ns": each * MS,
                "spans": [],
                "transfers": [],
                "sent": {},
                "round": number,
                "steal_ns": 0,
            }
            for number, each in enumerate(row)
        ]
        for label, row in durations_ms.items()
    }
    same: dict[str, Any] = dict.fromkeys(durations_ms, 1)
    return [{"cases": cases, "devices": same, "compute": dict.fromkeys(durations_ms, "real"), "peak_memory_bytes": {}}]


def test_rounds_are_set_aside_by_the_other_runs() -> None:
    # In round 1 the first calibration run takes 40 % longer, which makes all of them together take 20 % longer: the
    # round says nothing of the judged run and of the second, whose company was disturbed, but it does of the first.
    rows = {"calibration-a": [100, 140, 100, 100], "calibration-b": [100] * 4, "judged": [50] * 4}
    kept = keep_undisturbed(results(rows), rows, ["calibration-a", "calibration-b"])
    assert kept["judged"].rounds == kept["calibration-b"].rounds == (0, 2, 3)
    assert kept["calibration-a"].rounds == (0, 1, 2, 3)
    assert [kept[label].set_aside for label in rows] == [0, 1, 1]


def test_a_round_in_which_everything_is_slow_counts_for_nothing() -> None:
    rows = {"calibration-a": [100, 140, 100, 100], "calibration-b": [100, 140, 100, 100], "judged": [50] * 4}
    kept = keep_undisturbed(results(rows), rows, ["calibration-a", "calibration-b"])
    assert {one.rounds for one in kept.values()} == {(0, 2, 3)}


def test_the_machine_that_others_use_is_not_judged() -> None:
    # 3 % of 100 ms were stolen in iteration 2: more than the 2 % that are put up with; 1 % in iteration 0 is not
    rows = {"calibration-a": [100] * 4, "judged": [100] * 4}
    brought = results(rows)
    brought[0]["cases"]["judged"][2]["steal_ns"] = 3 * MS
    brought[0]["cases"]["judged"][0]["steal_ns"] = 1 * MS
    kept = keep_undisturbed(brought, rows, ["calibration-a"])
    assert kept["judged"].rounds == (0, 1, 3) and kept["calibration-a"].rounds == (0, 1, 2, 3)


def test_stolen_time_is_a_share_of_all_ranks_cores() -> None:
    # The same 3 ms on two ranks' cores are 1.5 % of the machine
    rows = {"calibration-a": [100] * 4, "judged": [100] * 4}
    brought = [*results(rows), *results(rows)]
    brought[0]["cases"]["judged"][2]["steal_ns"] = 3 * MS
    assert keep_undisturbed(brought, rows, ["calibration-a"])["judged"].set_aside == 0


def test_an_iteration_half_as_long_again_as_the_median_of_its_case_is_set_aside() -> None:
    rows = {"calibration-a": [100] * 5, "judged": [50, 50, 74, 76, 50]}
    kept = keep_undisturbed(results(rows), rows, ["calibration-a"])
    assert kept["judged"].rounds == (0, 1, 2, 4)  # 76 is above 1.5 x 50, 74 is not
    assert [timeline.end_ns // MS for timeline in kept["judged"].timelines] == [50, 50, 74, 50]


def test_a_case_of_which_nothing_is_left_is_an_error_with_a_remedy() -> None:
    rows = {"calibration-a": [100] * 2, "judged": [50] * 2}
    brought = results(rows)
    for record in brought[0]["cases"]["judged"]:
        record["steal_ns"] = 50 * MS
    with pytest.raises(InputError, match="all 2 iterations of judged were disturbed") as refused:
        keep_undisturbed(brought, rows, ["calibration-a"])
    assert "free the machine" in refused.value.remedy


@given(st.lists(st.integers(50, 80), min_size=1, max_size=12), st.integers(1, 1000))
def test_what_counts_and_what_is_set_aside_are_all_there_is(judged: list[int], factor: int) -> None:
    rows = {"calibration-a": [100] * len(judged), "judged": judged}
    kept = keep_undisturbed(results(rows), rows, ["calibration-a"])["judged"]
    assert len(kept.timelines) == len(kept.rounds) == len(judged) - kept.set_aside
    slower = {label: [factor * each for each in row] for label, row in rows.items()}
    assert keep_undisturbed(results(slower), slower, ["calibration-a"])["judged"].rounds == kept.rounds
