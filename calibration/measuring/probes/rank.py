"""One rank's part of a session: its probes, then the job of pipelined runs."""

from __future__ import annotations

__all__ = ["RankProbes", "measure"]

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.distributed as dist

from chimera.calibration.measuring.probes.all_reduce import AllReduceProbe, measure_all_reduces
from chimera.calibration.measuring.probes.groups import join_group
from chimera.calibration.measuring.probes.layer import LayerBench, LayerMemory, LayerProbe, LayerTimes
from chimera.calibration.measuring.probes.message import MessageProbe, measure_messages
from chimera.calibration.measuring.probes.overlap import OverlapProbe, measure_overlap
from chimera.executor.jobs.job import run_job
from chimera.executor.ranks.clock import Clock, make_clock
from chimera.executor.ranks.context import RankContext
from chimera.pipeline.grid import Grid
from chimera.pipeline.models import ModelConfig, layers, model_config
from chimera.pipeline.models.partition import Partition

_PASSES = 4


@dataclass(frozen=True, slots=True)
class RankProbes:
    """All that one rank measured of its layers and its peers."""

    layers: tuple[LayerProbe, ...] = ()
    messages: tuple[MessageProbe, ...] = ()
    all_reduces: tuple[AllReduceProbe, ...] = ()
    overlaps: tuple[OverlapProbe, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; `from_json` reads it back."""
        return {
            "layers": [probe.to_json() for probe in self.layers],
            "messages": [probe.to_json() for probe in self.messages],
            "all_reduces": [probe.to_json() for probe in self.all_reduces],
            "overlaps": [probe.to_json() for probe in self.overlaps],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The value that `to_json` wrote. Raises KeyError for a field that is missing."""
        return cls(
            tuple(map(LayerProbe.from_json, document["layers"])),
            tuple(map(MessageProbe.from_json, document["messages"])),
            tuple(map(AllReduceProbe.from_json, document["all_reduces"])),
            tuple(map(OverlapProbe.from_json, document["overlaps"])),
        )


def measure(context: RankContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What `run_job` returns, and beside it `probes` (`RankProbes` as JSON) and `probe_s`, the seconds they took.

    `payload` has `job` (see `executor.jobs.cases.Job`), `layers_per_stage`, `microbatch_size`, `probe_seconds`, the
    sizes `message_bytes` and `reduce_bytes`, the `reduce_groups`, and `layers`: what is known of the
    layers of paced ranks (`LayerProbe` as JSON), None to measure them.
    """
    started = time.monotonic()
    probes = _probe_rank(context, payload)
    return {"probes": probes.to_json(), "probe_s": time.monotonic() - started, **run_job(context, payload["job"])}


def _probe_rank(context: RankContext, payload: Mapping[str, Any]) -> RankProbes:
    clock, config, known = make_clock(context.device), model_config(payload["job"]["model"]), payload["layers"]
    return RankProbes(
        tuple(map(LayerProbe.from_json, known)) if known else _probe_layers(context, clock, payload, config),
        measure_messages(context, clock, payload["message_bytes"]) if context.ranks > 1 else (),
        tuple(
            probe
            for group in payload["reduce_groups"]
            for probe in measure_all_reduces(context, clock, group, payload["reduce_bytes"])
        ),
        () if known else _probe_overlap(context, clock, payload, config),
    )


def _probe_layers(
    context: RankContext, clock: Clock, payload: Mapping[str, Any], config: ModelConfig
) -> tuple[LayerProbe, ...]:
    """The layers of this rank's stages, all ranks measuring at the same time."""
    cuts = Partition.covering(payload["layers_per_stage"], len(layers(config))).ranges
    devices = min(len(cuts), context.ranks)
    device = Grid.holding(devices, context.ranks).place_of(context.rank).device
    mine = [index for stage, cut in enumerate(cuts) if stage % devices == device for index in cut]
    seconds = payload["probe_seconds"] / max(_PASSES * len(mine), 1)
    times = {index: LayerTimes([], []) for index in mine}
    memory: dict[int, LayerMemory] = {}
    dist.barrier()
    for _ in range(_PASSES):  # turn by turn: a machine whose speed drifts slows all layers alike
        for index in mine:
            context.progress.at(f"probing layer {index}")
            bench = LayerBench(config, index, payload["microbatch_size"], payload["job"], context.device)
            memory[index] = bench.watch_memory()
            for known, measured in zip(times[index], bench.time(clock, seconds), strict=True):
                known += measured
    dist.barrier()
    return tuple(
        LayerProbe(index, tuple(times[index].forward_ns), tuple(times[index].backward_ns), *memory[index])
        for index in mine
    )


def _probe_overlap(
    context: RankContext, clock: Clock, payload: Mapping[str, Any], config: ModelConfig
) -> tuple[OverlapProbe, ...]:
    """All-reduces of the largest gradient beside one sample's forward through a middle layer, the smallest group."""
    if not payload["reduce_groups"]:
        return ()
    group = join_group(context, min(payload["reduce_groups"]))
    bench = LayerBench(config, len(layers(config)) // 2, 1, payload["job"], context.device)
    with torch.no_grad():
        return measure_overlap(
            clock, lambda: bench.forward(bench.sample), group, max(payload["reduce_bytes"]), context.device
        )
