"""What every rank measures about itself and its peers: layers, messages, all-reduces.

These functions run inside the ranks, all ranks at once, because a layer alone on an idle machine is
faster than the same layer beside busy neighbours. They only measure; `chimera.calibration.fitting.profile` makes a
Profile of it.
"""

from __future__ import annotations

__all__ = ["measure"]

import time
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from chimera.calibration.fitting.overlap import Overlapped, measure_overlap
from chimera.executor.data import Source, microbatch
from chimera.executor.iteration.memory import footprint
from chimera.executor.jobs.job import run_job
from chimera.executor.modules import build_layers, loss_of
from chimera.executor.ranks.context import RankContext
from chimera.pipeline.models import ModelConfig, layers, model_config
from chimera.pipeline.models.partition import explicit

_WARMUP = 2
_LEAST = 3
_PASSES = 4


def measure(context: RankContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    """One rank's part of a session: probes, then the job of pipelined runs.

    `payload` has `job` (see `chimera.executor.jobs.cases.Job`), `layers_per_stage`, `microbatch_size`, `probe_seconds`, the
    sizes `message_bytes` and `reduce_bytes`, the `reduce_groups`, and `layers`: what is known of the
    layers of paced ranks, None to measure them.
    """
    job = payload["job"]
    started = time.monotonic()
    probes = {
        "layers": payload["layers"] or _layers(context, payload, model_config(job["model"])),
        "messages": _messages(context, payload["message_bytes"]) if context.ranks > 1 else {},
        "reduces": {
            str(group): _reduces(context, group, payload["reduce_bytes"]) for group in payload["reduce_groups"]
        },
        "overlap": [] if payload["layers"] else _overlap(context, payload, model_config(job["model"])),
    }
    return {"probes": probes, "probe_s": time.monotonic() - started, **run_job(context, job)}


def _layers(context: RankContext, payload: Mapping[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Times and memory of the layers of this rank's stages, all ranks measuring at the same time."""
    cuts = explicit(payload["layers_per_stage"], len(layers(config)))
    devices = min(len(cuts), context.ranks)
    mine = [index for stage, cut in enumerate(cuts) if stage % devices == context.rank % devices for index in cut]
    seconds = payload["probe_seconds"] / max(_PASSES * len(mine), 1)
    found: dict[str, dict[str, Any]] = {}
    dist.barrier()
    for _ in range(_PASSES):  # turn by turn: a machine whose speed drifts slows all layers alike
        for index in mine:
            context.progress.at(f"probing layer {index}")
            probe = _Probe(config, index, payload["microbatch_size"], payload["job"])
            times = found.setdefault(str(index), {"forward": [], "backward": []} | probe.memory())
            for kind, samples in probe.time(seconds).items():
                times[kind] += samples
    dist.barrier()
    return found


class _Probe:
    """One layer with a sample of its input; the last one ends in the loss, as in its stage."""

    def __init__(self, config: ModelConfig, index: int, size: int, job: Mapping[str, Any]) -> None:
        (self.module,) = build_layers(config, [index], seed=job["seed"])
        source = Source(job["data"], job["data_dir"])
        self.config, self.batch = (
            config,
            microbatch(config, size, seed=job["seed"], iteration=0, number=0, source=source),
        )
        self.last = index == len(layers(config)) - 1
        self.sample = self.batch.inputs if index == 0 else torch.randn(size, *layers(config)[index - 1].boundary_shape)

    def forward(self, given: Tensor) -> Tensor:
        """The layer's output, or the loss."""
        output = self.module(given)
        return loss_of(self.config, output, self.batch.targets) if self.last else output

    def time(self, seconds: float) -> dict[str, list[int]]:
        """Nanoseconds of forward and backward; the input's gradient is included where it has one."""
        found: dict[str, list[int]] = {"forward": [], "backward": []}
        deadline = time.monotonic() + seconds
        repetition = 0
        while repetition < _LEAST + _WARMUP or time.monotonic() < deadline:
            given = _fresh(self.sample)
            started = time.monotonic_ns()
            output = self.forward(given)
            between = time.monotonic_ns()
            gradient = torch.ones_like(output)
            resumed = time.monotonic_ns()
            output.backward(gradient)
            ended = time.monotonic_ns()
            if repetition >= _WARMUP:
                found["forward"].append(between - started)
                found["backward"].append(ended - resumed)
            repetition += 1
        return found

    def memory(self) -> dict[str, int]:
        """Bytes: what stays for the backward (input included, output not), output, and transient peaks."""
        given = _fresh(self.sample)
        kept: list[Tensor] = []
        ahead = footprint(lambda: kept.append(self.forward(given)))
        output = kept.pop()
        gradient = torch.ones_like(output)
        for parameter in self.module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        behind = footprint(lambda: output.backward(gradient))
        output_bytes = 0 if self.last else output.nbytes
        return {
            "activation_bytes": max(ahead.net_bytes - output_bytes + given.nbytes, 0),
            "output_bytes": output_bytes,
            "forward_workspace_bytes": ahead.peak_bytes - ahead.net_bytes + output_bytes,
            "backward_workspace_bytes": behind.peak_bytes,
        }


def _fresh(sample: Tensor) -> Tensor:
    given = sample.detach()
    return given.requires_grad_() if given.is_floating_point() else given


def _messages(context: RankContext, sizes: list[int], repetitions: int = 12) -> dict[str, list[int]]:
    """One-way nanoseconds by bytes between ranks 0 and 1: half of each round trip, as rank 0 sees it."""
    found: dict[str, list[int]] = {}
    for size in sizes:
        payload = torch.zeros(size, dtype=torch.uint8)
        times = []
        for repetition in range(repetitions + _WARMUP):
            started = time.monotonic_ns()
            if context.rank == 0:
                dist.send(payload, 1)
                dist.recv(payload, 1)
            elif context.rank == 1:
                dist.recv(payload, 0)
                dist.send(payload, 0)
            if repetition >= _WARMUP:
                times.append((time.monotonic_ns() - started) // 2)
        found[str(size)] = times
    dist.barrier()
    return found


def _reduces(context: RankContext, size: int, sizes: list[int], repetitions: int = 8) -> dict[str, list[int]]:
    """Nanoseconds by bytes of an all-reduce over groups of `size` ranks, all groups at once, as in a run."""
    mine = _group(context, size)
    found: dict[str, list[int]] = {}
    for count in sizes:
        payload = torch.zeros(max(count // 4, 1))
        times = []
        for repetition in range(repetitions + _WARMUP):
            dist.barrier()
            if mine is None:
                continue
            started = time.monotonic_ns()
            dist.all_reduce(payload, group=mine)
            if repetition >= _WARMUP:
                times.append(time.monotonic_ns() - started)
        found[str(count)] = times
    return found


def _overlap(context: RankContext, payload: Mapping[str, Any], config: ModelConfig) -> list[Overlapped]:
    """All-reduces of the largest gradient beside one sample's forward through a middle layer, the smallest group."""
    if not payload["reduce_groups"]:
        return []
    group = _group(context, min(payload["reduce_groups"]))
    index = len(layers(config)) // 2
    probe = _Probe(config, index, 1, payload["job"])
    with torch.no_grad():
        return measure_overlap(lambda: probe.forward(probe.sample), group, max(payload["reduce_bytes"]))


def _group(context: RankContext, size: int) -> Any:
    """This rank's group of `size` ranks a stride apart, as copies of a pipeline are; None if it is left over."""
    stride = context.ranks // size
    groups = [dist.new_group(list(range(first, stride * size, stride))) for first in range(stride)]
    return groups[context.rank % stride] if context.rank < stride * size else None
