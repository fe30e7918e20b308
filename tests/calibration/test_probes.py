"""Probes are values that travel as JSON, and what they measure is exactly what their clock said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from chimera.calibration.measuring.probes import AllReduceProbe, LayerProbe, MessageProbe, OverlapProbe, RankProbes
from chimera.calibration.measuring.probes.all_reduce import measure_all_reduces
from chimera.calibration.measuring.probes.layer import LayerBench
from chimera.calibration.measuring.probes.message import measure_messages
from chimera.calibration.measuring.probes.overlap import measure_overlap
from chimera.executor.jobs.cases import Job
from chimera.executor.ranks.clock import CpuClock
from chimera.executor.ranks.context import RankContext
from chimera.executor.ranks.progress import Progress
from chimera.pipeline.models import config_dict, layers, model_config
from tests.machines import MLP_TINY

CPU = torch.device("cpu")
JOB = Job(config_dict(MLP_TINY), ()).payload()

_counts = st.integers(0, 2**50)
_times = st.lists(_counts, max_size=5).map(tuple)
_ranks = st.builds(
    RankProbes,
    st.lists(st.builds(LayerProbe, _counts, _times, _times, _counts, _counts, _counts, _counts), max_size=3).map(tuple),
    st.lists(st.builds(MessageProbe, _counts, _times), max_size=3).map(tuple),
    st.lists(st.builds(AllReduceProbe, _counts, _counts, _times), max_size=3).map(tuple),
    st.lists(st.builds(OverlapProbe, _counts, _counts, _counts, _counts), max_size=3).map(tuple),
)


@given(_ranks)
def test_probes_survive_the_way_from_a_rank(probes: RankProbes) -> None:
    back = RankProbes.from_json(json.loads(json.dumps(probes.to_json())))
    assert back == probes and hash(back) == hash(probes)


def test_a_probe_is_written_with_its_units() -> None:
    assert MessageProbe(4096, (7, 8)).to_json() == {"size_bytes": 4096, "times_ns": (7, 8)}


def test_a_document_that_lacks_a_field_is_refused() -> None:
    with pytest.raises(KeyError, match="times_ns"):
        MessageProbe.from_json({"size_bytes": 4096})


def test_a_probe_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        MessageProbe(4096, ()).size_bytes = 1  # type: ignore[misc]


class CountingClock:
    """Every mark is a thousand nanoseconds after the one before it, and is told only after `finish`."""

    def __init__(self) -> None:
        self.marks = self.finished = 0
        self.begun = False

    def begin(self) -> None:
        self.begun = True

    def mark(self) -> int:
        assert self.begun
        self.marks += 1
        return self.marks

    def finish(self) -> None:
        self.finished = self.marks

    def ns(self, mark: int) -> int:
        assert mark <= self.finished, "a device's clock knows a mark only when the device has come to it"
        return 1000 * mark


def bench(index: int, size: int = 4) -> LayerBench:
    return LayerBench(MLP_TINY, index, size, JOB, CPU)


@pytest.mark.parametrize("index", [0, 4, 9])
def test_a_layer_is_timed_by_the_clock_it_is_given(index: int) -> None:
    times = bench(index).time(CountingClock(), seconds=0)
    # Three repetitions at least; in each, forward and backward lie between two marks that follow one another
    assert times.forward_ns == times.backward_ns == [1000] * 3


def test_more_time_gives_more_repetitions() -> None:
    times = bench(1).time(CpuClock(), seconds=0.05)
    assert len(times.forward_ns) == len(times.backward_ns) > 3 and min(times.forward_ns + times.backward_ns) > 0


def test_a_linear_layer_keeps_what_its_config_says() -> None:
    # Four samples of mlp-tiny's hidden layer: 512 floats come in, GELU sees 512 and gives 512
    memory, layer = bench(1).watch_memory(), layers(MLP_TINY)[1]
    assert memory.output_bytes == 4 * 4 * 512 == 4 * 4 * layer.boundary_elements
    assert memory.activation_bytes == 4 * 4 * layer.activation_elements


@pytest.mark.parametrize("index", [0, 1])
def test_memory_grows_with_the_samples(index: int) -> None:
    few, many = bench(index, 2).watch_memory(), bench(index, 8).watch_memory()
    assert many.output_bytes == 4 * few.output_bytes and many.activation_bytes == 4 * few.activation_bytes


def test_the_last_layer_ends_in_the_loss_and_sends_nothing() -> None:
    last = bench(9)
    assert last.forward(last.sample).shape == () and last.watch_memory().output_bytes == 0


@pytest.mark.parametrize("name", ["gpt-tiny", "bert-tiny", "cnn-tiny", "mlp-tiny"])
def test_layers_of_every_family_can_be_probed(name: str) -> None:
    config = model_config(name)
    for index in (0, len(layers(config)) - 1):
        one = LayerBench(config, index, 1, Job(config_dict(config), ()).payload(), CPU)
        assert len(one.time(CpuClock(), seconds=0).backward_ns) == 3


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[RankContext]:
    """A single rank in a process group of its own."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    yield RankContext(0, 1, CPU, tmp_path, Progress(tmp_path / "progress"), pinned=False)
    dist.destroy_process_group()


def test_all_reduces_are_timed_by_the_clock_they_are_given(alone: RankContext) -> None:
    probes = measure_all_reduces(alone, CountingClock(), 1, [4096, 65536])
    assert probes == (AllReduceProbe(1, 4096, (1000,) * 8), AllReduceProbe(1, 65536, (1000,) * 8))


def test_messages_are_half_of_a_round_trip(alone: RankContext, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(dist, "send", lambda payload, target: sent.append((payload.numel(), target)))
    monkeypatch.setattr(dist, "recv", lambda payload, source: None)
    assert measure_messages(alone, CountingClock(), [64, 4096]) == (
        MessageProbe(64, (500,) * 12),
        MessageProbe(4096, (500,) * 12),
    )
    assert sent == [(64, 1)] * 14 + [(4096, 1)] * 14  # twelve that count, and two to warm up


def test_an_overlap_is_measured_twelve_times_and_the_computation_is_several_pieces(alone: RankContext) -> None:
    pieces: list[int] = []
    group = dist.new_group([0])
    probes = measure_overlap(CpuClock(), lambda: pieces.append(1), group, 4096, CPU)
    assert len(probes) == 12 and len(pieces) >= 14 * (1 + 2 * 4)  # one to time it, four at least alone and beside
    assert all(min(one.reduce_alone_ns, one.compute_alone_ns, one.reduce_ns, one.compute_ns) > 0 for one in probes)


def test_a_rank_of_no_group_computes_and_tells_nothing(alone: RankContext) -> None:
    assert measure_overlap(CpuClock(), lambda: None, None, 4096, CPU) == ()
