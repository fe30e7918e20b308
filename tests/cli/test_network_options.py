"""The network on the command line: what the options mean, by hand, and which of them make no sense together."""

from __future__ import annotations

from typing import Any

import pytest

UNIFORM = ("--forward", "1ms", "--backward", "2ms")
FOUR = ("--stages", 4, "--microbatches", 1)
NODES = ("--devices-per-node", 2, "--inter-node", "20us,1GB/s", "--boundary", "1MB")


def iteration_s(chimera: Any, *options: object) -> float:
    done = chimera("simulate", "gpipe", *FOUR, *UNIFORM, *options, "--json")
    assert done.status == 0, done.stderr
    return float(done.document["iteration_s"])


def test_messages_pay_the_links_of_their_class(chimera: Any) -> None:
    """One micro-batch over nodes {0, 1} and {2, 3}: 4 links within a node, 2 between nodes, all in a row."""
    given = (*NODES, "--intra-node", "5us,10GB/s")
    within, between = 5e-6 + 1e6 / 10e9, 20e-6 + 1e6 / 1e9
    assert iteration_s(chimera, *given) == pytest.approx(4 * 3e-3 + 4 * within + 2 * between)


def test_links_within_a_node_stay_what_they_are_when_only_the_others_are_given(chimera: Any) -> None:
    between = 20e-6 + 1e6 / 1e9
    assert iteration_s(chimera, *NODES) == pytest.approx(4 * 3e-3 + 2 * between)
    assert iteration_s(chimera, *NODES, "--p2p", "7us") == pytest.approx(4 * 3e-3 + 4 * 7e-6 + 2 * between)


def test_without_nodes_all_links_are_within_one(chimera: Any) -> None:
    assert iteration_s(chimera, "--intra-node", "5us") == pytest.approx(4 * 3e-3 + 6 * 5e-6)
    bandwidth = ("--intra-node", "80Gbit/s", "--boundary", "1MB")  # 10 GB/s
    assert iteration_s(chimera, *bandwidth) == pytest.approx(4 * 3e-3 + 6 * 1e6 / 10e9)


def test_host_overhead_is_paid_at_both_ends(chimera: Any) -> None:
    assert iteration_s(chimera, "--overhead", "10us") == pytest.approx(4 * 3e-3 + 6 * 2 * 10e-6)


@pytest.mark.parametrize("command", [("simulate", "gpipe"), ("compare", "gpipe")])
def test_the_network_is_listed_among_the_assumptions_and_as_data(chimera: Any, command: tuple[str, str]) -> None:
    document = chimera(*command, *FOUR, *UNIFORM, *NODES, "--shared-nic", "--json").document
    case = document.get("cases", [document])[0]
    listed = " / ".join(case["assumptions"])
    for words in ("nodes of 2 devices", "20 us, 1 GB/s", "one NIC a node", "976.6 KiB"):
        assert words in listed
    assert case["network"]["topology"] == {"devices_per_node": 2, "shared_nic": True}
    assert case["network"]["links"]["other_node"]["bandwidth_bytes_per_s"] == 1e9


@pytest.mark.parametrize(
    ("options", "derived", "remedy"),
    [
        (("--inter-node", "20us"), "which devices share a node", "--devices-per-node"),
        (("--shared-nic",), "which devices share a node", "--devices-per-node"),
        (("--devices-per-node", 2), "no links between nodes", "--inter-node"),
        (("--devices-per-node", 0), "at least one device", "1 or more"),
        (("--intra-node", "5us,10GB/s"), "without bytes", "--boundary"),
        (("--intra-node", "5us,6us"), "one latency and one bandwidth", "5us,100GB/s"),
        (("--intra-node", "5,10GB/s"), "no unit", "5us,100GB/s"),
        (("--intra-node", "10GB"), "unit 'GB' is unknown", "5us,100GB/s"),
        (("--intra-node", "0GB/s"), "nothing would ever arrive", "5us,100GB/s"),
        (("--intra-node", "5us", "--p2p", "5us"), "two costs of the same messages", "one of them"),
        (("--half-duplex",), "never wait for one another", "--intra-node"),
        (("--boundary", "4"), "has no unit", "16MiB"),
        (("--all-reduce", "tree"), "neither latency nor bandwidth", "--inter-node"),
    ],
)
def test_what_makes_no_sense_is_answered_with_a_remedy(
    chimera: Any, options: tuple[object, ...], derived: str, remedy: str
) -> None:
    done = chimera("simulate", "gpipe", *FOUR, *UNIFORM, *options)
    assert done.status == 2
    error, hint = done.stderr.splitlines()[:2]
    assert derived in error and remedy in hint


def test_a_profile_that_knows_its_sizes_keeps_them(chimera: Any) -> None:
    done = chimera("simulate", "gpipe", *FOUR, "--profile", "bert-base-v100", "--boundary", "1MiB")
    assert done.status == 2 and "knows its own" in done.stderr


def test_early_receives_cost_interleaved_time_that_late_ones_do_not(chimera: Any) -> None:
    given = ("--stages", 8, "--microbatches", 16, *UNIFORM, "--p2p", "100us", "--json")
    free, early, late = (
        chimera("simulate", "interleaved", *given, *how).document["iteration_s"]
        for how in (
            (),
            ("--semantics", "stream", "--receives", "early"),
            ("--semantics", "stream", "--receives", "late"),
        )
    )
    assert early > 1.02 * free and late == free


def test_where_receives_stand_means_nothing_without_streams(chimera: Any) -> None:
    done = chimera("simulate", "gpipe", *FOUR, *UNIFORM, "--receives", "late")
    assert done.status == 2 and "add --semantics stream" in done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # rings of r = 2 W over L = 1 MB: 2 (r-1) alpha + 2 (r-1)/r L/b, over the slower link the group lies on
        (("--intra-node", "5us,10GB/s"), 2 * 3 * 5e-6 + 2 * 3 / 4 * 1e6 / 10e9),
        (
            ("--devices-per-node", 4, "--intra-node", "5us,10GB/s", "--inter-node", "20us,1GB/s"),
            2 * 3 * 5e-6 + 2 * 3 / 4 * 1e-4,
        ),
        (
            ("--devices-per-node", 2, "--intra-node", "5us,10GB/s", "--inter-node", "20us,1GB/s"),
            2 * 3 * 2e-5 + 2 * 3 / 4 * 1e-3,
        ),
        # tree: 2 log2(4) (alpha + L/b)
        (("--intra-node", "5us,10GB/s", "--all-reduce", "tree"), 4 * (5e-6 + 1e-4)),
    ],
)
def test_gradients_pay_the_links_between_their_ranks(chimera: Any, given: tuple[object, ...], expected: float) -> None:
    """Chimera on two devices in two copies: both devices hold both stages, so two all-reduces end the iteration."""
    shape = ("--stages", 2, "--microbatches", 2, "--width", 2, "--set", "sync=end", *UNIFORM)
    messages = ("--boundary", "1B", "--gradients", "1MB", *given, "--json")
    found = chimera("simulate", "chimera", *shape, *messages).document
    assert found["iteration_s"] - found["pipeline_s"] == pytest.approx(2 * expected, rel=1e-6)
