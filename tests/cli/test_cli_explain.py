"""`simulate --explain`: the object in --json and the tables."""

from typing import Any

import pytest

ARGUMENTS = (
    "simulate",
    "dapple",
    "--stages",
    4,
    "--microbatches",
    8,
    "--forward",
    "1ms",
    "--backward",
    "2ms",
    "--explain",
)


def test_json_has_the_explanation(chimera: Any) -> None:
    """DAPPLE: (N+D-1)(F+B) = 33 ms, of which (D-1)(F+B) = 9 ms are bubble (Chimera paper, table 2)."""
    found = chimera(*ARGUMENTS, "--json").document["explain"]
    assert found["limit"] == "bubble"
    assert found["losses_s"]["bubble"] == pytest.approx(0.009)
    assert sum(found["critical_path_s"].values()) == pytest.approx(0.033)
    assert found["critical_path"][0] == {
        "kind": "compute",
        "device": 0,
        "subject": "0F0",
        "start_s": 0.0,
        "end_s": 0.001,
        "waited_for": "",
    }


def test_tables_are_printed(chimera: Any) -> None:
    done = chimera(*ARGUMENTS)
    assert done.status == 0
    assert "Limited by bubble" in done.stdout and "Critical path" in done.stdout


def test_without_the_option_nothing_is_added(chimera: Any) -> None:
    assert "explain" not in chimera(*ARGUMENTS[:-1], "--json").document


def test_what_a_transport_costs_is_explained(chimera: Any) -> None:
    """docs/simulating.md: 67.4 ms on streams with early receives, 61.5 ms with buffered messages."""
    costs = ("--forward", "1ms", "--backward", "2ms", "--p2p", "100us")
    shape = (
        "simulate",
        "interleaved",
        "--stages",
        8,
        "--microbatches",
        16,
        *costs,
        "--semantics",
        "stream",
        "--explain",
    )
    found = chimera(*shape, "--json").document["explain"]
    assert found["losses_s"]["transport"] == pytest.approx(0.0059)
    assert "stream, held by" in chimera(*shape).stdout


def test_compare_shows_the_closed_form(chimera: Any) -> None:
    """D = N = 4, F = 1, B = 2, p2p = 0.1 ms: Chimera 4 x 1.1 + 6 x 2.1 = 17 ms, DAPPLE 7 x (1.1 + 2.1) = 22.4 ms."""
    costs = ("--forward", "1ms", "--backward", "2ms", "--p2p", "100us")
    arguments = ("compare", "chimera", "dapple", "gems", "--stages", 4, "--microbatches", 4, *costs)
    cases = {case["schedule"]: case for case in chimera(*arguments, "--json").document["cases"]}
    assert cases["chimera"]["closed_form_s"] == pytest.approx(0.017)
    assert cases["dapple"]["closed_form_s"] == pytest.approx(0.0224)
    assert cases["gems"]["closed_form_s"] is None and "not gems" in cases["gems"]["closed_form_reason"]
    done = chimera(*arguments)
    assert "closed form" in done.stdout and "one behind every action" in " ".join(done.stderr.split())


def test_what_if_a_device_is_slow_and_memory_small(chimera: Any) -> None:
    """A device twice as slow does 8 x (2 + 4) ms instead of 8 x (1 + 2) ms."""
    slow = ("--slow-device", "1=2")
    found = chimera(*ARGUMENTS[:-1], *slow, "--capacity", "16GiB", "--json").document
    assert [row["busy_s"] for row in found["per_device"]] == [0.024, 0.048, 0.024, 0.024]
    assert found["capacity_bytes"] == 16 * 2**30 and found["out_of_memory"] is None
    profile = ("--profile", "bert-large-v100", "--capacity", "700MiB")
    cases = chimera("compare", "gpipe", "dapple", "--stages", 4, "--microbatches", 8, *profile, "--json").document[
        "cases"
    ]
    for case in cases:
        gone = case["out_of_memory"]
        assert (
            gone["held_bytes"] > 700 * 2**20 and case["per_device"][gone["device"]]["peak_memory_bytes"] > 700 * 2**20
        )
    assert "runs out at" in chimera("simulate", "gpipe", "--stages", 4, "--microbatches", 8, *profile).stderr


@pytest.mark.parametrize(
    "wrong", [("--slow-device", "1"), ("--slow-device", "a=2"), ("--slow-device", "9=2"), ("--capacity", "16")]
)
def test_wrong_what_ifs(chimera: Any, wrong: tuple[str, str]) -> None:
    assert chimera(*ARGUMENTS, *wrong).status == 2
