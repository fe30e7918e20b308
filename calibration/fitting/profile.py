"""From measurements to a Profile: isolated layers scaled to what a pipeline really took.

Layer probes say how a stage's time divides among its layers; short pipelined runs say how long the
stage takes in place (same schedule machinery, busy neighbours, real messages). Each layer is scaled
so that its stage agrees with the pipelined runs.
"""

from __future__ import annotations

__all__ = ["Measurements", "fit_optimizer", "fit_profile"]

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from chimera.calibration.fitting.contexts import fit_contexts
from chimera.calibration.fitting.observations import Observations, Start
from chimera.calibration.fitting.overlap import fit_slowdowns
from chimera.calibration.fitting.slopes import Line, fit_line, slope_interval
from chimera.calibration.fitting.variation import fit_jitter
from chimera.calibration.judging.statistics import relative_spread
from chimera.calibration.measuring.probes import LayerProbe, RankProbes
from chimera.pipeline.actions import Kind
from chimera.pipeline.models import Layer, ModelConfig, config_dict, input_bytes, layers
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.setting import STATE_BYTES
from chimera.pipeline.units import FLOAT32_BYTES
from chimera.simulator.costs.profile import (
    AllReduceCost,
    LayerCost,
    LinkCost,
    MeasuredReduce,
    OptimizerCost,
    Overheads,
    Profile,
    SizeCost,
)

_UNEQUAL = 2.0
"""between stages of sizes that differ less, the constant of a line would be noise"""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a session brought back: the probes of every rank, and what calibration runs in a pipeline showed."""

    config: ModelConfig
    stages: int
    microbatch_size: int
    optimizer: str
    probes: Sequence[RankProbes]
    observations: Observations
    layers_per_stage: tuple[int, ...] | None = None
    """of the calibration runs; None: the default partition"""

    @property
    def cuts(self) -> tuple[range, ...]:
        """The layers of every stage of the calibration runs."""
        return Partition.of_model(self.config, self.stages, self.layers_per_stage).ranges

    @property
    def first_probes(self) -> RankProbes:
        """Rank 0's, which has a part in every message and all-reduce; empty without ranks."""
        return self.probes[0] if self.probes else RankProbes()


def fit_profile(name: str, measured: Measurements, provenance: Mapping[str, object]) -> Profile:
    """The cost profile of a session's measurements."""
    observations = measured.observations
    gap = _delay(observations, "ready") or 0
    locality, stage_ns = fit_contexts(observations)
    return Profile(
        name=name,
        layers=_fit_layers(measured, stage_ns),
        model=config_dict(measured.config),
        input_bytes_per_sample=input_bytes(measured.config),
        links={"local": _fit_link(measured, gap)},
        all_reduce=_fit_all_reduce(measured),
        optimizer=fit_optimizer(measured),
        overheads=Overheads(dispatch_ns=gap, iteration_ns=round(median(observations.tails))),
        locality=locality,
        jitter=fit_jitter(observations),
        provenance=provenance,
    )


def _delay(observations: Observations, start: Start) -> int | None:
    """The median delay of the actions that started in this way; None if there were none."""
    delays = [seen.delay_ns for seen in observations.actions if seen.start == start]
    return round(median(delays)) if delays else None


def _probe(measured: Measurements, index: int) -> LayerProbe:
    """What was measured of a layer; times are pooled with those of all layers of the same shape."""
    described = layers(measured.config)
    alike = [
        _own_probe(measured, other)
        for other, layer in enumerate(described)
        if replace(layer, name="") == replace(described[index], name="")
    ]
    return replace(
        _own_probe(measured, index),
        forward_ns=tuple(time for probe in alike for time in probe.forward_ns),
        backward_ns=tuple(time for probe in alike for time in probe.backward_ns),
    )


def _own_probe(measured: Measurements, index: int) -> LayerProbe:
    return next(probe for rank in measured.probes for probe in rank.layers if probe.index == index)


def _fit_layers(measured: Measurements, stage_ns: Mapping[tuple[int, Kind], float]) -> tuple[LayerCost, ...]:
    """Every layer's cost: its share of the isolated times of its stage, of what the stage took in place."""
    described = layers(measured.config)
    costs: list[LayerCost] = []
    for stage, members in enumerate(measured.cuts):
        probes = {index: _probe(measured, index) for index in members}
        forward = {index: median(probe.forward_ns) for index, probe in probes.items()}
        backward = {index: median(probe.backward_ns) for index, probe in probes.items()}
        for index, probe in probes.items():
            in_place = {
                kind: _share(stage_ns.get((stage, kind)), index, forward if kind is Kind.F else backward)
                for kind in (Kind.F, Kind.B, Kind.I, Kind.W)
            }
            size_cost = _size_cost(probe, measured.microbatch_size, in_place)
            costs.append(_layer_cost(described[index], size_cost))
    return tuple(costs)


def _share(stage_ns: float | None, index: int, isolated: Mapping[int, float]) -> int | None:
    """A layer's part of its stage's time in place; None if no pipelined run had such an action."""
    total = sum(isolated.values())
    return round(stage_ns * isolated[index] / total) if stage_ns is not None and total else None


def _size_cost(probe: LayerProbe, size: int, in_place: Mapping[Kind, int | None]) -> SizeCost:
    """A layer's cost: the times in place, or those of the probe where whole forwards or backwards were never run."""
    forward_ns, backward_ns = in_place[Kind.F], in_place[Kind.B]
    return SizeCost(
        microbatch_size=size,
        forward_ns=round(median(probe.forward_ns)) if forward_ns is None else forward_ns,
        backward_ns=round(median(probe.backward_ns)) if backward_ns is None else backward_ns,
        backward_input_ns=in_place[Kind.I],
        backward_weight_ns=in_place[Kind.W],
        forward_spread=relative_spread(probe.forward_ns),
        backward_spread=relative_spread(probe.backward_ns),
        activation_bytes=probe.activation_bytes,
        boundary_bytes=probe.output_bytes,
        forward_workspace_bytes=probe.forward_workspace_bytes,
        backward_workspace_bytes=probe.backward_workspace_bytes,
        precision="float32",
        source="measured",
    )


def _layer_cost(layer: Layer, cost: SizeCost) -> LayerCost:
    return LayerCost(layer.name, (cost,), layer.kind, layer.parameters, layer.parameters * FLOAT32_BYTES)


def _boundary_bytes(measured: Measurements) -> int:
    return max((_own_probe(measured, members[-1]).output_bytes for members in measured.cuts[:-1]), default=0)


def _fit_link(measured: Measurements, gap: int) -> LinkCost:
    """Bandwidth from round trips, latency from the delays of waiting consumers in the pipelined runs.

    Those have the last word: round trips alone may be slower than whole messages in a pipeline. Where
    noise hides what size costs, the least that the bandwidth can be is noted, and taken where larger
    messages took no longer at all.
    """
    samples = {probe.size_bytes: probe.times_ns for probe in measured.first_probes.messages}
    if not samples:
        return LinkCost()
    line, (low, high) = fit_line(samples), slope_interval(samples)
    least = 1e9 / high if low <= 0 < high else None
    delay, size = _delay(measured.observations, "waited"), _boundary_bytes(measured)
    slope = line.beta_ns_per_byte or (high if least else 0.0)
    latency = line.alpha_ns
    if delay is not None and size:
        slope = min(slope, max(delay - gap, 1) / size)
        latency = max(delay - gap - slope * size, 0.0)
    return LinkCost(round(latency), 1e9 / slope if slope else None, least_bandwidth_bytes_per_s=least)


def _fit_all_reduce(measured: Measurements) -> AllReduceCost:
    """A table over group and bytes from the probes, scaled to what pipelined runs took in place."""
    lines = _reduce_lines(measured)
    if not lines:
        return AllReduceCost()
    scales = _reduce_scales(measured, lines)
    sizes = sorted({probe.size_bytes for probe in measured.first_probes.all_reduces})
    table = tuple(
        MeasuredReduce(group, size, round(scales[group] * line.at(size)))
        for group, line in lines.items()
        for size in sizes
    )
    smallest, scale = lines[min(lines)], scales[min(lines)]
    slowdowns = fit_slowdowns(probe for rank in measured.probes for probe in rank.overlaps)
    return AllReduceCost(
        latency_ns=round(scale * smallest.alpha_ns / 2),
        bandwidth_bytes_per_s=1e9 / (scale * smallest.beta_ns_per_byte) if smallest.beta_ns_per_byte else None,
        compute_slowdown=slowdowns.compute,
        reduce_slowdown=slowdowns.reduce,
        measured=table,
    )


def _reduce_lines(measured: Measurements) -> dict[int, Line]:
    """Per group size, the cost of an all-reduce by bytes."""
    tables: dict[int, dict[int, tuple[int, ...]]] = defaultdict(dict)
    for probe in measured.first_probes.all_reduces:
        tables[probe.ranks][probe.size_bytes] = probe.times_ns
    return {group: fit_line(tables[group]) for group in sorted(tables)}


def _reduce_scales(measured: Measurements, lines: Mapping[int, Line]) -> dict[int, float]:
    """Per group size, what an all-reduce took in place over what the probe says; seen nowhere, the median of all."""
    ratios: dict[int, list[float]] = defaultdict(list)
    for group, size, time in measured.observations.reduces:
        if group in lines:
            ratios[group].append(time / lines[group].at(size))
    usual = median(ratio for row in ratios.values() for ratio in row) if ratios else 1.0
    return {group: median(ratios[group]) if group in ratios else usual for group in lines}


def fit_optimizer(measured: Measurements) -> OptimizerCost:
    """A step's cost by parameters, in place: a line where the stages' sizes tell its ends apart, else a rate alone."""
    described = layers(measured.config)
    sizes = [sum(described[index].parameters for index in members) for members in measured.cuts]
    steps = _by_size(sizes, measured.observations.steps)
    kept = OptimizerCost(
        state_bytes_per_parameter=STATE_BYTES[measured.optimizer], gradient_bytes_per_parameter=float(FLOAT32_BYTES)
    )
    if steps and max(steps) > _UNEQUAL * min(steps):
        line = fit_line(steps)
        return replace(kept, constant_ns=round(line.alpha_ns), ns_per_parameter=line.beta_ns_per_byte)
    rates = [median(times) / size for size, times in steps.items()]
    return replace(kept, ns_per_parameter=median(rates) if rates else 0.0)


def _by_size(sizes: Sequence[int], steps: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """The steps of all stages of so many parameters, together."""
    pooled: dict[int, list[int]] = defaultdict(list)
    for stage, times in steps.items():
        if sizes[stage]:
            pooled[sizes[stage]] += times
    return pooled
