"""Which iterations count: nothing has a say in which of its own rounds do."""

from typing import Any

from chimera.calibration.measuring.disturbances import keep_undisturbed

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
