"""From measurements to a Profile: isolated layers scaled to what a pipeline really took.

Layer probes say how a stage's time divides among its layers; short pipelined runs say how long the
stage takes in place (same schedule machinery, busy neighbours, real messages). Each layer is scaled
so that its stage agrees with the pipelined runs.
"""

from __future__ import annotations

__all__ = ["Measurements", "fit_profile", "optimizer_cost"]

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from chimera.calibration.fitting.contexts import in_place_times
from chimera.calibration.fitting.observations import InPlace, Start
from chimera.calibration.fitting.overlap import slowdowns
from chimera.calibration.fitting.slopes import Line, fit_line, slope_interval
from chimera.calibration.fitting.variation import variation
from chimera.calibration.judging.statistics import relative_spread
from chimera.pipeline.actions import Kind
from chimera.pipeline.models import Layer, ModelConfig, config_dict, input_bytes, layers
from chimera.pipeline.models.partition import cut
from chimera.pipeline.setting import STATE_BYTES
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

_PARAMETER_BYTES = 4
_TIMES = (
    ("forward_ns", Kind.F, "forward"),
    ("backward_ns", Kind.B, "backward"),
    ("backward_input_ns", Kind.I, "backward"),
    ("backward_weight_ns", Kind.W, "backward"),
)
"""field of a SizeCost, the action that shows it in place, and the isolated time by which layers share it"""
_UNEQUAL = 2.0
"""between stages of sizes that differ less, the constant of a line would be noise"""
"""of what an optimizer keeps of a parameter of four bytes; momentum comes on top"""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a session brought back; `probes[rank]` as `chimera.calibration.measuring.probes.measure` returns them."""

    config: ModelConfig
    stages: int
    microbatch_size: int
    optimizer: str
    probes: Sequence[Mapping[str, Any]]
    in_place: InPlace
    layers_per_stage: tuple[int, ...] | None = None
    """of the calibration runs; None: the default partition"""

    @property
    def cuts(self) -> tuple[range, ...]:
        """The layers of every stage of the calibration runs."""
        return cut(self.config, self.stages, self.layers_per_stage)


def fit_profile(name: str, found: Measurements, provenance: Mapping[str, object]) -> Profile:
    """The cost profile of a session's measurements."""
    in_place = found.in_place
    gap = _delay(in_place, "ready") or 0
    locality, stage_ns = in_place_times(in_place)
    return Profile(
        name=name,
        layers=_layers(found, stage_ns),
        model=config_dict(found.config),
        input_bytes_per_sample=input_bytes(found.config),
        links={"local": _link(found, gap)},
        all_reduce=_all_reduce(found),
        optimizer=optimizer_cost(found),
        overheads=Overheads(dispatch_ns=gap, iteration_ns=round(median(in_place.tails))),
        locality=locality,
        jitter=variation(in_place),
        provenance=provenance,
    )


def _delay(in_place: InPlace, start: Start) -> int | None:
    """The median delay of the actions that started in this way; None if there were none."""
    delays = [seen.delay_ns for seen in in_place.actions if seen.start == start]
    return round(median(delays)) if delays else None


def _probe(found: Measurements, index: int) -> dict[str, Any]:
    """What was measured of a layer; times are pooled with those of all layers of the same shape."""
    described = layers(found.config)
    own = _own_probe(found, index)
    alike = [
        _own_probe(found, other)
        for other, layer in enumerate(described)
        if replace(layer, name="") == replace(described[index], name="")
    ]
    return own | {kind: [time for probe in alike for time in probe[kind]] for kind in ("forward", "backward")}


def _own_probe(found: Measurements, index: int) -> dict[str, Any]:
    return next(dict(probe["layers"][str(index)]) for probe in found.probes if str(index) in probe["layers"])


def _layers(found: Measurements, stage_ns: Mapping[tuple[int, Kind], float]) -> tuple[LayerCost, ...]:
    """Every layer's cost: its share of the isolated times of its stage, of what the stage took in place."""
    described = layers(found.config)
    costs: list[LayerCost] = []
    for stage, members in enumerate(found.cuts):
        probes = {index: _probe(found, index) for index in members}
        for index, probe in probes.items():
            times = {
                name: _share(stage_ns.get((stage, kind)), index, {i: median(p[isolated]) for i, p in probes.items()})
                for name, kind, isolated in _TIMES
            }
            for name, _, isolated in _TIMES[:2]:
                if times[name] is None:
                    times[name] = round(median(probe[isolated]))
            costs.append(_layer(described[index], probe, found.microbatch_size, times))
    return tuple(costs)


def _share(stage_ns: float | None, index: int, isolated: Mapping[int, float]) -> int | None:
    """A layer's part of its stage's time in place; None if no pipelined run had such an action."""
    total = sum(isolated.values())
    return round(stage_ns * isolated[index] / total) if stage_ns is not None and total else None


def _layer(layer: Layer, probe: Mapping[str, Any], size: int, times: Mapping[str, int | None]) -> LayerCost:
    forward_ns = times["forward_ns"]
    assert forward_ns is not None
    cost = SizeCost(
        microbatch_size=size,
        forward_ns=forward_ns,
        backward_ns=times["backward_ns"],
        backward_input_ns=times["backward_input_ns"],
        backward_weight_ns=times["backward_weight_ns"],
        forward_spread=relative_spread(probe["forward"]),
        backward_spread=relative_spread(probe["backward"]),
        activation_bytes=probe["activation_bytes"],
        boundary_bytes=probe["output_bytes"],
        forward_workspace_bytes=probe["forward_workspace_bytes"],
        backward_workspace_bytes=probe["backward_workspace_bytes"],
        precision="float32",
        source="measured",
    )
    return LayerCost(layer.name, (cost,), layer.kind, layer.parameters, layer.parameters * _PARAMETER_BYTES)


def _boundary_bytes(found: Measurements) -> int:
    return max((int(_probe(found, members[-1])["output_bytes"]) for members in found.cuts[:-1]), default=0)


def _link(found: Measurements, gap: int) -> LinkCost:
    """Bandwidth from round trips, latency from the delays of waiting consumers in the pipelined runs.

    Those have the last word: round trips alone may be slower than whole messages in a pipeline. Where
    noise hides what size costs, the least that the bandwidth can be is noted, and taken where larger
    messages took no longer at all.
    """
    samples = {int(size): times for probe in found.probes[:1] for size, times in probe["messages"].items()}
    if not samples:
        return LinkCost()
    line, (low, high) = fit_line(samples), slope_interval(samples)
    least = 1e9 / high if low <= 0 < high else None
    delay, size = _delay(found.in_place, "waited"), _boundary_bytes(found)
    slope = line.beta_ns_per_byte or (high if least else 0.0)
    latency = line.alpha_ns
    if delay is not None and size:
        slope = min(slope, max(delay - gap, 1) / size)
        latency = max(delay - gap - slope * size, 0.0)
    return LinkCost(round(latency), 1e9 / slope if slope else None, least_bandwidth_bytes_per_s=least)


def _all_reduce(found: Measurements) -> AllReduceCost:
    """A table over group and bytes from the probes, scaled to what pipelined runs took in place."""
    lines = _reduce_lines(found)
    if not lines:
        return AllReduceCost()
    scales = _reduce_scales(found, lines)
    sizes = sorted({int(size) for table in found.probes[0]["reduces"].values() for size in table})
    measured = tuple(
        MeasuredReduce(group, size, round(scales[group] * line.at(size)))
        for group, line in lines.items()
        for size in sizes
    )
    smallest, scale = lines[min(lines)], scales[min(lines)]
    compute_slowdown, reduce_slowdown = slowdowns(found.probes)
    return AllReduceCost(
        latency_ns=round(scale * smallest.alpha_ns / 2),
        bandwidth_bytes_per_s=1e9 / (scale * smallest.beta_ns_per_byte) if smallest.beta_ns_per_byte else None,
        compute_slowdown=compute_slowdown,
        reduce_slowdown=reduce_slowdown,
        measured=measured,
    )


def _reduce_lines(found: Measurements) -> dict[int, Line]:
    """Per group size, the cost of an all-reduce by bytes."""
    tables = found.probes[0]["reduces"]
    return {
        int(group): fit_line({int(size): times for size, times in tables[group].items()})
        for group in sorted(tables, key=int)
    }


def _reduce_scales(found: Measurements, lines: Mapping[int, Line]) -> dict[int, float]:
    """Per group size, what an all-reduce took in place over what the probe says; seen nowhere, the median of all."""
    ratios: dict[int, list[float]] = defaultdict(list)
    for group, size, time in found.in_place.reduces:
        if group in lines:
            ratios[group].append(time / lines[group].at(size))
    usual = median(ratio for row in ratios.values() for ratio in row) if ratios else 1.0
    return {group: median(ratios[group]) if group in ratios else usual for group in lines}


def optimizer_cost(found: Measurements) -> OptimizerCost:
    """A step's cost by parameters, in place: a line where the stages' sizes tell its ends apart, else a rate alone."""
    described = layers(found.config)
    sizes = [sum(described[index].parameters for index in members) for members in found.cuts]
    steps = _by_size(sizes, found.in_place.steps)
    kept = OptimizerCost(
        state_bytes_per_parameter=STATE_BYTES[found.optimizer], gradient_bytes_per_parameter=float(_PARAMETER_BYTES)
    )
    if steps and max(steps) > _UNEQUAL * min(steps):
        line = fit_line(steps)
        return replace(kept, constant_ns=round(line.alpha_ns), ns_per_parameter=line.beta_ns_per_byte)
    rates = [median(times) / size for size, times in steps.items()]
    return replace(kept, ns_per_parameter=median(rates) if rates else 0.0)


def _by_size(sizes: Sequence[int], steps: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """The steps of all stages of so many parameters, together."""
    found: dict[int, list[int]] = defaultdict(list)
    for stage, times in steps.items():
        if sizes[stage]:
            found[sizes[stage]] += times
    return found
