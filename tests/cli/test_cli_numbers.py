"""What the command prints, against the formulas of the literature and the keys of its contract."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

# with both kinds of backward, D = N: Chimera's bubble is (D-2)/(2N+D-2) for B = F and
# (D-2)/(3N/2+D-2) for B = 2F (Chimera paper, table 2); pipeline = N (F + B) / (1 - bubble)
CHIMERA = [
    (4, "1ms", 0.010, Fraction(1, 5)),
    (4, "2ms", 0.016, Fraction(1, 4)),
    (8, "1ms", 0.022, Fraction(3, 11)),
    (8, "2ms", 0.036, Fraction(1, 3)),
]
SIMULATE_KEYS = {
    "schema_version",
    "schedule",
    "options",
    "stages",
    "devices",
    "microbatches",
    "width",
    "engine",
    "pipeline_s",
    "iteration_s",
    "ideal_s",
    "lower_bound_s",
    "bubble_ratio",
    "bubble_over_ideal",
    "bubble_longest_stage",
    "throughput_samples_per_s",
    "utilisation",
    "per_device",
    "assumptions",
    "profile",
}
DEVICE_KEYS = {"device", "busy_s", "idle_s", "peak_activations", "peak_memory_bytes", "weights_copies"}
UNIFORM = ("--forward", "1ms", "--backward", "2ms")


def square(depth: int) -> tuple[object, ...]:
    return ("--stages", depth, "--microbatches", depth)


@pytest.mark.parametrize(("depth", "backward", "pipeline_s", "bubble"), CHIMERA)
@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_chimera_has_the_papers_bubble(
    chimera: Any, depth: int, backward: str, pipeline_s: float, bubble: Fraction, engine: str
) -> None:
    done = chimera(
        "simulate", "chimera", *square(depth), "--forward", "1ms", "--backward", backward, "--engine", engine, "--json"
    )
    assert done.status == 0
    assert done.document["pipeline_s"] == pipeline_s
    assert done.document["bubble_ratio"] == pytest.approx(float(bubble), abs=1e-12)
    assert done.document["engine"] == engine


def test_simulate_has_every_key_of_the_contract(chimera: Any) -> None:
    document = chimera("simulate", "chimera", *square(8), *UNIFORM, "--json").document
    assert document.keys() >= SIMULATE_KEYS and "interval_s" not in document
    assert (document["schema_version"], document["schedule"], document["width"]) == (1, "chimera", 1)
    assert (document["stages"], document["devices"], document["microbatches"]) == (8, 8, 8)
    assert [row["device"] for row in document["per_device"]] == list(range(8))
    assert all(row.keys() >= DEVICE_KEYS for row in document["per_device"])
    # N (F + B) of work on every device; two replicas live on each (Chimera paper, figure 2)
    assert all(row["busy_s"] == 0.024 and row["weights_copies"] == 2 for row in document["per_device"])
    # table 2 of the paper: between D/2 + 1 = 5 and D = 8 micro-batches' activations
    activations = [row["peak_activations"] for row in document["per_device"]]
    assert (min(activations), max(activations)) == (5, 8)


def test_an_alias_is_the_same_schedule(chimera: Any) -> None:
    one, other = (chimera("simulate", name, *square(4), *UNIFORM, "--json").document for name in ("1f1b", "dapple"))
    assert one["schedule"] == other["schedule"] == "dapple"
    # (p-1)(F+B) of bubble beside m (F+B) of work (DAPPLE, section 3)
    assert one["pipeline_s"] == other["pipeline_s"] == pytest.approx((4 + 3) * 3e-3)


def test_two_halves_are_added_where_a_schedule_has_full_backwards(chimera: Any) -> None:
    halves = ("--forward", "1ms", "--backward-input", "750us", "--backward-weight", "1.25ms")
    assert chimera("simulate", "dapple", *square(4), *halves, "--json").document["pipeline_s"] == pytest.approx(0.021)


def test_latency_delays_every_message_on_the_critical_path(chimera: Any) -> None:
    # one micro-batch: D forwards, D backwards and 2 (D-1) messages one after another
    done = chimera("simulate", "gpipe", "--stages", 4, "--microbatches", 1, *UNIFORM, "--p2p", "100us", "--json")
    assert done.document["pipeline_s"] == pytest.approx(4 * 3e-3 + 6 * 100e-6)


def test_samples_give_three_ordered_percentiles(chimera: Any) -> None:
    done = chimera("simulate", "dapple", *square(2), *UNIFORM, "--samples", 5, "--seed", 1, "--json")
    low, middle, high = done.document["interval_s"]
    assert low == middle == high == pytest.approx((2 + 1) * 3e-3)  # uniform costs have no spread
    assert any("spread" in assumption for assumption in done.document["assumptions"])


def test_compare_gives_a_case_for_each_name(chimera: Any) -> None:
    done = chimera("compare", "gpipe", "dapple", "chimera", *square(4), *UNIFORM, "--json")
    cases = {case["schedule"]: case for case in done.document["cases"]}
    assert cases.keys() == {"gpipe", "dapple", "chimera"}
    assert all(case.keys() >= SIMULATE_KEYS for case in cases.values())
    assert cases["gpipe"]["pipeline_s"] == cases["dapple"]["pipeline_s"] == pytest.approx(0.021)
    assert cases["chimera"]["pipeline_s"] == 0.016


def test_compare_without_names_says_why_some_are_left_out(chimera: Any) -> None:
    done = chimera("compare", "--stages", 3, "--microbatches", 4, *UNIFORM)
    assert done.status == 0
    assert "dapple" in done.stdout
    lines = [line for line in done.stderr.splitlines() if "chimera" in line and "even" in line]
    assert lines  # three stages are odd


def test_compare_gives_every_schedule_the_same_work(chimera: Any) -> None:
    """Interleaved cuts the model finer; its bubble is (p-1)(F+B)/v with F, B of a whole device (2104.04473)."""
    done = chimera("compare", "dapple", "interleaved", "--stages", 4, "--microbatches", 8, *UNIFORM, "--json")
    cases = {case["schedule"]: case for case in done.document["cases"]}
    assert {case["ideal_s"] for case in cases.values()} == {0.024}
    assert cases["dapple"]["pipeline_s"] == pytest.approx(0.024 + 3 * 0.003)
    assert cases["interleaved"]["pipeline_s"] == pytest.approx(0.024 + 3 * 0.003 / 2)
    assert cases["interleaved"]["bubble_ratio"] == pytest.approx(3 / 19)  # (p-1) / (v m + p-1)
    assert any("4/8" in assumption for assumption in cases["interleaved"]["assumptions"])


def test_compare_passes_settings_to_the_schedules_that_know_them(chimera: Any) -> None:
    done = chimera(
        "compare", "dapple", "interleaved", "--stages", 4, "--microbatches", 8, *UNIFORM, "--set", "v=4", "--json"
    )
    cases = {case["schedule"]: case for case in done.document["cases"]}
    assert cases["interleaved"]["options"]["v"] == 4 and cases["dapple"]["options"] == {}
    assert cases["interleaved"]["bubble_ratio"] == pytest.approx(3 / 35)
    assert chimera("compare", *square(4), *UNIFORM, "--set", "vv=4").status == 2


def test_a_files_own_messages_are_taken_literally(chimera: Any, tmp_path: Path) -> None:
    """Device 0 waits for the gradient of micro-batch 0 before it forwards micro-batch 1: later than needed."""
    rows = [
        ["0F0", "0SEND_F0", "0F1", "0RECV_B0", "0B0", "0SEND_F1", "0RECV_B1", "0B1"],
        ["1RECV_F0", "1F0", "1B0", "1SEND_B0", "1RECV_F1", "1F1", "1B1", "1SEND_B1"],
    ]
    path = tmp_path / "order.csv"
    path.write_text("\n".join(",".join(row) for row in rows))
    # 0F0 0-1, 1F0 1-2, 1B0 2-4, 0B0 4-6, only then message 1: 1F1 6-7, 1B1 7-9, 0B1 9-11
    assert chimera("simulate", path, *UNIFORM, "--json").document["pipeline_s"] == pytest.approx(0.011)


def test_the_table_names_the_bubbles_definition(chimera: Any) -> None:
    for command in ("simulate", "compare"):
        text = chimera(command, "chimera", *square(4), *UNIFORM).stdout
        assert "pipeline" in text and "25" in text and "devices" in text


def test_all_reduces_that_cost_nothing_are_said_to(chimera: Any) -> None:
    shape = [
        "simulate",
        "dapple",
        "--stages",
        "2",
        "--microbatches",
        "4",
        "--forward",
        "1ms",
        "--backward",
        "2ms",
        "--json",
    ]
    free = "all-reduces take no time: no bandwidth or latency is known for them"
    network = ["--gradients", "1GiB", "--devices-per-node", "2", "--inter-node", "20us,10GB/s"]
    assert free in chimera(*shape, "--width", "8").document["assumptions"]
    assert free not in chimera(*shape).document["assumptions"]
    assert free not in chimera(*shape, "--width", "8", *network).document["assumptions"]
