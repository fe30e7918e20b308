"""What if: slower links, a faster network, jitter and stragglers, other depths, on the command line."""

from __future__ import annotations

from typing import Any

import pytest

UNIFORM = ("--forward", "1ms", "--backward", "2ms")
FOUR = ("--stages", 4, "--microbatches", 1)
LINKS = ("--devices-per-node", 2, "--intra-node", "5us,10GB/s", "--inter-node", "20us,1GB/s", "--boundary", "1MB")
JITTER = ("--jitter", "5%", "--samples", 50)


def iteration_s(chimera: Any, *options: object) -> float:
    done = chimera("simulate", "gpipe", *FOUR, *UNIFORM, *options, "--json")
    assert done.status == 0, done.stderr
    return float(done.document["iteration_s"])


def test_a_slow_link_slows_its_messages_both_ways(chimera: Any) -> None:
    """Of 4 messages within nodes (105 us) two cross 0-1; those between nodes take 1020 us."""
    within, between = 5e-6 + 1e6 / 10e9, 20e-6 + 1e6 / 1e9
    slow = iteration_s(chimera, *LINKS, "--slow-link", "1-0=3")
    assert slow == pytest.approx(4 * 3e-3 + 2 * within + 2 * 3 * within + 2 * between)


def test_a_faster_network_leaves_computation_and_host_time(chimera: Any) -> None:
    messages = 4 * (5e-6 + 1e6 / 10e9) + 2 * (20e-6 + 1e6 / 1e9)
    host = 6 * 2 * 10e-6
    plain, fast = (iteration_s(chimera, *LINKS, "--overhead", "10us", *what) for what in ((), ("--faster-network", 4)))
    assert plain == pytest.approx(4 * 3e-3 + host + messages)
    assert fast == pytest.approx(4 * 3e-3 + host + messages / 4)


def test_devices_of_a_host_share_cores(chimera: Any) -> None:
    """GPipe, D = 2, N = 2, F = 1, B = 2 ms on one core: all 12 ms of work one after another or at half pace."""
    shape = ("simulate", "gpipe", "--stages", 2, "--microbatches", 2, *UNIFORM, "--cores", 1, "--json")
    document = chimera(*shape).document
    assert document["iteration_s"] == pytest.approx(0.012)
    assert any("2 devices share 1 cores" in line for line in document["assumptions"])


def test_what_was_changed_is_said(chimera: Any) -> None:
    changes = ("--slow-link", "0-1=3", "--faster-network", 2, *JITTER, "--stragglers", "0.1=1.5")
    document = chimera("simulate", "gpipe", *FOUR, *UNIFORM, *LINKS, *changes, "--json").document
    said = " / ".join(document["assumptions"])
    for words in ("devices 0 and 1 are 3 times as slow", "multiplied by 2", "varies by 5%", "0.1 of the iterations"):
        assert words in said
    assert document["network"]["topology"]["slow_links"] == [{"one": 0, "other": 1, "factor": 3.0}]


@pytest.mark.parametrize(
    ("options", "derived", "remedy"),
    [
        (("--slow-link", "0-1"), "no =FACTOR", "0-1=3"),
        (("--slow-link", "0=3"), "two devices' numbers", "0-1=3"),
        (("--slow-link", "0-9=3"), "devices 0 to 3", "name two"),
        (("--slow-link", "1-1=3"), "link to itself", "0-1"),
        (("--slow-link", "0-1=0.5"), "not slower", "1 or more"),
        (("--faster-network", 0), "is none", "above 0"),
        (("--cores", 0), "compute nothing", "1 or more"),
        (("--jitter", "5%"), "nothing is drawn", "--samples"),
        (("--jitter", "0.05", "--samples", 9), "not a percentage", "5%"),
        (("--stragglers", "0.1=1.5"), "nothing is drawn", "--samples"),
        (("--stragglers", "2=1.5", "--samples", 9), "no probability", "0 to 1"),
        (("--slow-device", "x=2"), "a device's number", "2=1.5"),
    ],
)
def test_what_makes_no_sense_is_answered_with_a_remedy(
    chimera: Any, options: tuple[object, ...], derived: str, remedy: str
) -> None:
    done = chimera("simulate", "gpipe", *FOUR, *UNIFORM, *options)
    assert done.status == 2
    error, hint = done.stderr.splitlines()[:2]
    assert derived in error and remedy in hint


COMPARED = (
    "gpipe",
    "dapple",
    "chimera",
    "--stages",
    4,
    "--microbatches",
    8,
    *UNIFORM,
    *JITTER,
    "--stragglers",
    "0.1=1.5",
)


def test_the_chance_that_one_beats_another_is_complementary(chimera: Any) -> None:
    beats = chimera("compare", *COMPARED, "--json").document["beats"]
    assert beats.keys() == {"gpipe", "dapple", "chimera"}
    for one, others in beats.items():
        assert others.keys() == beats.keys() - {one}
        for other, chance in others.items():
            assert chance + beats[other][one] == pytest.approx(1.0)
    # 10/11 of the others' time (tables 1 and 2 of its paper), and the same slow devices for all
    assert beats["chimera"]["gpipe"] > 0.9 and beats["chimera"]["dapple"] > 0.9


def test_the_same_seed_gives_the_same_bytes_from_both_engines(chimera: Any) -> None:
    first, again, other = (
        chimera("compare", *COMPARED, "--engine", engine, "--seed", seed, "--json").stdout
        for engine, seed in (("simpy", 1), ("simpy", 1), ("simpy", 2))
    )
    compiled = chimera("compare", *COMPARED, "--engine", "compiled", "--seed", 1, "--json").stdout
    assert first == again != other
    assert compiled.replace('"compiled"', '"simpy"') == first


def test_the_table_of_chances_names_the_first(chimera: Any) -> None:
    shown = chimera("compare", *COMPARED).stdout
    assert "50 draws" in shown and "is faster than" in shown


def test_without_draws_there_are_no_chances(chimera: Any) -> None:
    assert "beats" not in chimera("compare", "gpipe", *FOUR, *UNIFORM, "--json").document


def test_several_depths_of_one_model_are_ranked_together(chimera: Any) -> None:
    given = ("--profile", "bert-base-v100", "--microbatch-size", 4, "--json")
    document = chimera("compare", "dapple", "chimera", "--stages", "3,4,6", "--microbatches", 12, *given).document
    cases = {(case["schedule"], case["stages"]): case for case in document["cases"]}
    # an odd number of stages is refused by Chimera only
    assert cases.keys() == {("dapple", 3), ("dapple", 4), ("dapple", 6), ("chimera", 4), ("chimera", 6)}
    assert [(item["schedule"], item["stages"]) for item in document["excluded"]] == [("chimera", 3)]
    # 1F1B of equal stages: (N + D - 1) (F + B), and F + B of 12 equal blocks is 12/D blocks
    assert cases["dapple", 3]["iteration_s"] / cases["dapple", 6]["iteration_s"] == pytest.approx(
        14 * 4 / (17 * 2), rel=1e-3
    )


def test_equal_stages_of_several_depths_are_no_comparison(chimera: Any) -> None:
    done = chimera("compare", "dapple", "--stages", "4,8", "--microbatches", 8, *UNIFORM)
    assert done.status == 2 and "larger model" in done.stderr and "--profile" in done.stderr


def test_a_depth_is_a_number(chimera: Any) -> None:
    assert chimera("compare", "dapple", "--stages", "4,x", "--microbatches", 8, *UNIFORM).status == 2
