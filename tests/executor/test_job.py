"""Real runs: what they report, what they leave when cut short, and what they must survive."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.jobs.journal import read_journal
from chimera.executor.jobs.pace import Pace
from chimera.executor.jobs.results import losses, partial_results, timelines
from chimera.executor.ranks.launch import launch
from chimera.pipeline.actions import Kind
from chimera.pipeline.errors import InputError, RunError
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.metrics import measure
from chimera.pipeline.models import GPT, MLP, ModelConfig, config_dict
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build
from tests.slowness import slowness

pytestmark = pytest.mark.multiprocess

MODEL = MLP("mlp", blocks=6, hidden=64, features=16, classes=4)


def _case(name: str, stages: int = 2, microbatches: int = 4, rows: int = 8, **more: Any) -> Case:
    return Case(name, schedule_json(build(name, stages=stages, microbatches=microbatches)), rows, **more)


def _job(model: ModelConfig, cases: list[Case], **settings: Any) -> Job:
    return Job(config_dict(model), tuple(cases), **settings)


def _run(cases: list[Case], output: Path, ranks: int = 2, deadline_s: float = 120, **settings: Any) -> Any:
    payload = _job(MODEL, cases, **settings).payload()
    return launch("chimera.executor.jobs.job:run_job", payload, ranks=ranks, output=output, deadline_s=deadline_s)


RECOMPUTING = build("gpipe", stages=2, microbatches=4)
VARIANTS = {
    "plain": RECOMPUTING,
    "recompute": replace(RECOMPUTING, recompute=True),
    "last stage": replace(RECOMPUTING, recompute=(1,)),
}
TEXT = GPT("gpt", blocks=2, hidden=64, heads=4, sequence=32, vocabulary=256)
REPORTED, WIDE = ("gpipe", "chimera", "data-parallel"), 512
JOBS = {
    "timelines": _job(MODEL, [_case(name) for name in REPORTED], rounds=2),
    "the same data": _job(
        MODEL,
        [_case("gpipe"), _case("chimera"), _case("dapple", microbatches=2)],
        rounds=3,
        warmup=0,
        reset=True,
        optimizer="sgd",
    ),
    "text": _job(TEXT, [_case("chimera", rows=4)], iterations=50, warmup=0, learning_rate=3e-3, memory=False),
    "memory": _job(MODEL, [_case("gpipe", rows=WIDE), _case("dapple", rows=WIDE)], optimizer="adamw"),
    "recomputation": _job(MODEL, [Case(label, schedule_json(item), WIDE) for label, item in VARIANTS.items()]),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the ranks returned of each job; starting them costs more than most jobs."""
    payload = {"jobs": {name: job.payload() for name, job in JOBS.items()}}
    ranks = launch(
        "tests.executor.targets:jobs", payload, ranks=2, output=tmp_path_factory.mktemp("jobs"), deadline_s=120
    )
    return {name: [rank[name] for rank in ranks] for name in JOBS}


def test_timelines_hold_every_action_of_the_plan_in_order(found: dict[str, Any]) -> None:
    results = found["timelines"]
    for name in REPORTED:
        schedule = build(name, stages=2, microbatches=4)
        measured = timelines(results, name)
        assert len(measured) == 2 and all(t.source == "measured" and t.devices == 2 for t in measured)
        for timeline in measured:
            for device in range(2):
                row = timeline.of_device(device)
                assert tuple(span.action for span in row) == schedule.actions[device]
                assert all(a.start_ns <= a.end_ns <= b.start_ns for a, b in pairwise(row))
            assert 0 < max(span.end_ns for span in timeline.spans) <= timeline.end_ns
            # The bubble of two stages lies between that of an ideal machine and nonsense.
            assert 0 <= measure(timeline).bubble_ratio < 1
            for t in timeline.transfers:
                assert t.posted_ns <= t.needed_ns <= t.arrived_ns and t.sent_ns <= t.arrived_ns
                assert t.size_bytes == 8 * 64 * 4
        stages_stepped = {(s.device, s.action.parts[0].stage) for s in measured[0].spans if s.stream == "optimizer"}
        assert stages_stepped == {(d, s) for d in range(2) for s in schedule.stages_on(d)}
        assert any(s.stream == "sync" for s in measured[0].spans) == (schedule.replicas > 1)


def test_all_cases_see_the_same_data_and_reset_starts_over(found: dict[str, Any]) -> None:
    results = found["the same data"]
    first = losses(results, "gpipe")
    assert first[0] == first[1] == first[2]
    assert losses(results, "chimera") == pytest.approx(first, rel=1e-6)


def test_a_small_gpt_learns_real_text(found: dict[str, Any]) -> None:
    learnt = losses(found["text"], "chimera")
    # From about ln(256) = 5.55 to well below what letter frequencies alone would give (about 3.3).
    assert 5 < learnt[0] < 6.2
    assert statistics.mean(learnt[-5:]) < 3.3


def test_two_copies_are_shown_one_at_a_time(tmp_path: Path) -> None:
    results = _run([_case("dapple", width=2)], tmp_path, ranks=4)
    for copy in (0, 1):
        (timeline,) = timelines(results, "dapple", copy=copy)
        assert timeline.devices == 2 and {span.device for span in timeline.spans} == {0, 1}


def test_peak_memory_counts_weights_gradients_optimizer_and_stored_activations(found: dict[str, Any]) -> None:
    # By hand, float32: a stage of k hidden layers (Linear, GELU; h wide) stores for each of its k layers
    # the product before GELU and the input, B h each; the input of stage 1 is the received message.
    # Stage 1 ends with the head: its input, and the log-probabilities of B x classes.
    rows, h, results = WIDE, 64, found["memory"]
    peaks = {name: [r["memory"][name] for r in results] for name in ("gpipe", "dapple")}
    parameters = [16 * h + h + 3 * (h * h + h), 3 * (h * h + h) + h * 4 + 4]
    for device in (0, 1):
        expected = 4 * parameters[device] * 4  # weights, gradients and AdamW's two moments
        assert peaks["gpipe"][device]["baseline_bytes"] == pytest.approx(expected, abs=1024)
    one = rows * h * 4
    # Stage 0 has 4 layers: 4 products and 3 inputs (the first is the batch) stay, and its output until sent.
    net = {name: n for name, _, n in peaks["dapple"][0]["actions"] if name.startswith("0F")}
    assert set(net.values()) == {8 * one}
    # GPipe holds N = 4 micro-batches on device 0, DAPPLE min(N, D) = 2 (reference/schedules.md): the
    # difference of the peaks is two micro-batches, give or take two messages on the way.
    difference = peaks["gpipe"][0]["peak_bytes"] - peaks["dapple"][0]["peak_bytes"]
    assert difference == pytest.approx(2 * 8 * one, abs=2 * one)


def test_recomputation_keeps_the_inputs_only(found: dict[str, Any]) -> None:
    memory = found["recomputation"][0]["memory"]
    net = {label: next(n for name, _, n in memory[label]["actions"] if name == "0F3") for label in VARIANTS}
    assert (
        net["recompute"] <= WIDE * 64 * 4 < net["plain"] == net["last stage"]
    )  # its output, to be sent, and nothing else


def _pace(stages: int, milliseconds: float) -> tuple[Pace, ...]:
    forward = round(milliseconds * 1e6)
    return tuple(Pace(forward_ns=forward, backward_ns=2 * forward, step_ns=0) for _ in range(stages))


@pytest.mark.slow
@pytest.mark.timing
def test_paced_compute_takes_the_time_it_is_given(tmp_path: Path) -> None:
    # GPipe, F = 5 ms, B = 10 ms, D = 4, N = 4: (N + D - 1)(F + B) = 105 ms plus what messages cost,
    # on however few cores; the bubble ratio is (D-1)/(N+D-1) = 3/7. Nothing is shorter than it is given; what is added
    # by others that want the cores is least in the best iteration, bounded by how much they want.
    results = _run([_case("gpipe", stages=4, pace=_pace(4, 5))], tmp_path, ranks=4, rounds=5)
    measured = timelines(results, "gpipe")
    spans = [span for t in measured for span in t.spans if span.stream == "compute"]
    for kind, expected in ((Kind.F, 5e6), (Kind.B, 10e6)):
        durations = [span.end_ns - span.start_ns for span in spans if span.action.kind is kind]
        assert min(durations) == pytest.approx(expected, rel=0.01)
    assert all(t.source == "paced" for t in measured)
    best = min(measured, key=lambda t: t.end_ns)
    assert 105e6 <= best.end_ns < 1.15 * 105e6 * slowness()
    assert measure(best).bubble_ratio == pytest.approx(3 / 7, abs=0.06 * slowness())


@pytest.mark.slow
@pytest.mark.timing
def test_paced_split_backwards_take_their_own_times(tmp_path: Path) -> None:
    # ZB-H1 at F = I = W = 5 ms, D = 4, N = 8: N (F + I + W) + (D - 1)(F + I - W) = 135 ms (arXiv 2401.10241).
    stage = Pace(
        forward_ns=5_000_000, backward_ns=0, backward_input_ns=5_000_000, backward_weight_ns=5_000_000, step_ns=0
    )
    pace = (stage,) * 4
    results = _run([_case("zb-h1", stages=4, microbatches=8, pace=pace)], tmp_path, ranks=4, rounds=5)
    measured = timelines(results, "zb-h1")
    assert 135e6 <= min(measure(t).pipeline_ns for t in measured) < 1.15 * 135e6 * slowness()


def _kill_later(output: Path, rank: int, iterations: int) -> threading.Thread:
    """Kills a rank once it has completed some iterations."""

    def wait_and_kill() -> None:
        while len(read_journal(output, rank)) < iterations:
            time.sleep(0.02)
        os.kill(int((output / "ranks" / f"rank-{rank}.pid").read_text()), signal.SIGKILL)

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread


def test_a_run_cut_short_names_the_rank_and_keeps_its_completed_iterations(tmp_path: Path) -> None:
    killer = _kill_later(tmp_path, rank=1, iterations=5)
    with pytest.raises(RunError, match=r"rank 1 was killed by SIGKILL"):
        _run([_case("chimera")], tmp_path, iterations=100_000, warmup=0, memory=False)
    killer.join(5)
    left = timelines(partial_results(tmp_path, 2, {"chimera": 2}), "chimera")
    assert len(left) >= 4
    assert all(len(timeline.of_device(device)) == 8 for timeline in left for device in (0, 1))


def test_a_case_that_needs_more_ranks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs 4 ranks where 2 were started"):
        _run([_case("gpipe", stages=4)], tmp_path)


def test_half_a_sample_is_refused(tmp_path: Path) -> None:
    schedule: Schedule = build("chimera", stages=2, microbatches=4, concat="halving")
    with pytest.raises(InputError, match="half a sample"):
        _run([Case("halving", schedule_json(schedule), 1)], tmp_path)
