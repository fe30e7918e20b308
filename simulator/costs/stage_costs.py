"""From layers to stages: what one stage costs for one micro-batch of a given size."""

from __future__ import annotations

__all__ = ["StageCosts", "cost_assumptions", "default_microbatch_size", "for_chunks", "stage_costs", "stage_layers"]

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import sqrt

from chimera.pipeline.errors import InputError
from chimera.pipeline.models import layers as model_layers
from chimera.pipeline.models import model_config
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedule import Schedule
from chimera.simulator.costs.profile import LayerCost, Profile, SizeCost


@dataclass(frozen=True, slots=True)
class StageCosts:
    """One stage and one micro-batch: integer nanoseconds and bytes.

    `backward_ns` is always `backward_input_ns + backward_weight_ns` unless the full backward was
    measured on its own. `jitter` is the relative spread of (forward, backward).
    """

    forward_ns: int
    backward_ns: int
    backward_input_ns: int
    backward_weight_ns: int
    parameters: int = 0
    parameter_bytes: int = 0
    gradient_bytes: int = 0
    optimizer_bytes: int = 0
    activation_bytes: int = 0
    boundary_bytes: int = 0
    input_bytes: int = 0
    forward_workspace_bytes: int = 0
    backward_workspace_bytes: int = 0
    optimizer_ns: int = 0
    jitter: tuple[float, float] = (0.0, 0.0)


def default_microbatch_size(profile: Profile) -> int:
    """The size a prediction uses when none is given: the smallest one measured for every layer."""
    sizes = profile.sizes
    return sizes[0] if sizes else profile.layers[0].undivided[0].microbatch_size


def for_chunks(profile: Profile, schedule: Schedule) -> Profile:
    """The profile with equal stages' costs as those of a device's share of the model: of v chunks each costs 1/v.

    So that schedules with one and with several chunks a device do the same work (`cost_assumptions` says
    so). Sizes stay: a finer cut has messages and activations as large. Profiles of layers are returned as they are.
    """
    if not profile.per_stage or schedule.stages <= schedule.devices:
        return profile
    (layer,) = profile.layers
    share = Fraction(schedule.devices, schedule.stages)
    costs = tuple(_part(cost, share) for cost in layer.costs)
    return replace(profile, layers=(replace(layer, costs=costs, parameters=round(layer.parameters * share)),))


def _part(cost: SizeCost, share: Fraction) -> SizeCost:
    times = {name: getattr(cost, name) for name in _TIMES_AND_SIZES if name.endswith("_ns")}
    return replace(cost, **{name: round(time * share) for name, time in times.items() if time is not None})


def stage_layers(
    profile: Profile, stages: int, partition: Sequence[int] | None = None
) -> tuple[tuple[LayerCost, ...], ...]:
    """The layers of each stage: `partition` (layers per stage), else the profile's, else a balanced one.

    Balanced means by the model's FLOPs where the profile names its model, so that a prediction and
    a run cut alike; otherwise by measured forward + backward time.
    """
    if profile.per_stage:
        return (profile.layers,) * stages
    layers = _every_layer(profile)
    if partition is None and profile.partition is not None and len(profile.partition) == stages:
        partition = profile.partition
    if partition is not None:
        if len(partition) != stages:
            derived = f"has {len(partition)} stages, the schedule {stages}"
            raise InputError(f"partition {list(partition)}", derived, "give one count per stage")
        cut = Partition.covering(partition, len(layers)).ranges
    else:
        cut = _balanced_cut(profile, stages)
    return tuple(tuple(layers[index] for index in part) for part in cut)


def _every_layer(profile: Profile) -> tuple[LayerCost, ...]:
    """The layers in order, repeated ones one by one."""
    return tuple(layer for layer in profile.layers for _ in range(layer.repeat))


def _balanced_cut(profile: Profile, stages: int) -> tuple[range, ...]:
    if profile.model is not None:
        config = model_config(profile.model)
        if len(model_layers(config)) == len(_every_layer(profile)):
            return Partition.default(config, stages).ranges
    smallest = [layer.undivided[0] for layer in _every_layer(profile)]
    costs = [cost.forward_ns + sum(_halves(cost)) for cost in smallest]
    return Partition.balanced(costs, stages).ranges


def stage_costs(
    profile: Profile, stages: int, microbatch_size: float | None = None, partition: Sequence[int] | None = None
) -> tuple[StageCosts, ...]:
    """What each of `stages` stages costs for a micro-batch of `microbatch_size` samples.

    The default is the smallest size measured. Between measured sizes costs are interpolated
    linearly. Above the largest the last two sizes are extended linearly, below the smallest (and
    with one size only) costs are proportional to the size: launch-bound small sizes are therefore
    under-estimated, and an assumption says so. A size may be fractional: half of an odd one.
    """
    size = float(default_microbatch_size(profile) if microbatch_size is None else microbatch_size)
    if size <= 0:
        raise InputError(f"micro-batch size {microbatch_size}", "is not positive", "give a size of one or more")
    groups = stage_layers(profile, stages, tuple(partition) if partition is not None else None)
    at_size = [[_at(layer, size) for layer in group] for group in groups]
    inputs = [round(profile.input_bytes_per_sample * size), *(costs[-1].boundary_bytes for costs in at_size[:-1])]
    return tuple(
        _stage(profile, group, costs, received) for group, costs, received in zip(groups, at_size, inputs, strict=True)
    )


def _stage(profile: Profile, group: Sequence[LayerCost], costs: Sequence[SizeCost], input_bytes: int) -> StageCosts:
    optimizer = profile.optimizer
    parameters = sum(layer.parameters for layer in group)
    halves = [_halves(cost) for cost in costs]
    return StageCosts(
        forward_ns=sum(cost.forward_ns for cost in costs),
        backward_ns=sum(
            sum(half) if cost.backward_ns is None else cost.backward_ns
            for cost, half in zip(costs, halves, strict=True)
        ),
        backward_input_ns=sum(half[0] for half in halves),
        backward_weight_ns=sum(half[1] for half in halves),
        parameters=parameters,
        parameter_bytes=sum(layer.parameter_bytes for layer in group),
        gradient_bytes=round(parameters * optimizer.gradient_bytes_per_parameter),
        optimizer_bytes=round(parameters * optimizer.state_bytes_per_parameter),
        activation_bytes=sum(cost.activation_bytes for cost in costs),
        boundary_bytes=costs[-1].boundary_bytes,
        input_bytes=input_bytes,
        forward_workspace_bytes=max(cost.forward_workspace_bytes for cost in costs),
        backward_workspace_bytes=max(cost.backward_workspace_bytes for cost in costs),
        optimizer_ns=optimizer.constant_ns + round(parameters * optimizer.ns_per_parameter),
        jitter=_combined_spread(costs, halves),
    )


def _combined_spread(costs: Sequence[SizeCost], halves: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Relative spreads of the sums, the layers varying independently."""
    forward = [(cost.forward_ns, cost.forward_spread) for cost in costs]
    backward = [(sum(half), cost.backward_spread) for cost, half in zip(costs, halves, strict=True)]
    return _spread_of_sum(forward), _spread_of_sum(backward)


def _spread_of_sum(terms: Sequence[tuple[int, float]]) -> float:
    total = sum(time for time, _ in terms)
    return sqrt(sum((time * spread) ** 2 for time, spread in terms)) / total if total else 0.0


def _halves(cost: SizeCost) -> tuple[int, int]:
    """Input and weight part of a backward: measured, or the full one halved (an odd ns goes to the weights)."""
    if cost.backward_input_ns is not None and cost.backward_weight_ns is not None:
        return cost.backward_input_ns, cost.backward_weight_ns
    full = cost.backward_ns or 0
    return full // 2, full - full // 2


_TIMES_AND_SIZES = tuple(name for name in SizeCost.__slots__ if name.endswith(("_ns", "_bytes", "_spread")))


@lru_cache(maxsize=4096)
def _at(layer: LayerCost, size: float) -> SizeCost:
    """The layer's costs at any size, by the rule of `stage_costs`."""
    points = sorted(layer.undivided, key=lambda cost: cost.microbatch_size)
    sizes = [cost.microbatch_size for cost in points]
    place = bisect_left(sizes, size)
    if place < len(sizes) and sizes[place] == size:
        return points[place]
    if place == 0 or len(points) == 1:
        nearest = points[0]
        share = size / nearest.microbatch_size
        return _blend(nearest, nearest, share, 0.0)
    place = min(place, len(points) - 1)
    low, high = points[place - 1], points[place]
    weight = (size - low.microbatch_size) / (high.microbatch_size - low.microbatch_size)
    return _blend(low, high, 1 - weight, weight)


def _blend(low: SizeCost, high: SizeCost, of_low: float, of_high: float) -> SizeCost:
    """Linear combination of two measured sizes, never negative; relative spreads are those of the nearer one."""
    values: dict[str, int | float | None] = {}
    for name in _TIMES_AND_SIZES:
        first, second = getattr(low, name), getattr(high, name)
        if name.endswith("_spread"):
            values[name] = first if of_low >= of_high else second
        elif first is None or second is None:
            values[name] = None
        else:
            values[name] = max(round(of_low * first + of_high * second), 0)
    return SizeCost(1, **values)  # type: ignore[arg-type]


def cost_assumptions(profile: Profile, schedule: Schedule, sizes: Sequence[float]) -> tuple[str, ...]:
    """What had to be assumed about compute costs: split or joined backwards, sizes not measured."""
    found = []
    costs = [cost for layer in profile.layers for cost in layer.undivided]
    kinds = {part.kind for row in schedule.actions for action in row for part in action.parts}
    if kinds & {"I", "W"} and any(cost.backward_input_ns is None for cost in costs):
        found.append("backward split in halves: the profile knows only the full backward")
    if "B" in kinds and any(cost.backward_ns is None for cost in costs):
        found.append("full backward = backward input + backward weight: the profile knows only the two halves")
    if profile.per_stage and schedule.stages > schedule.devices:
        found.append(
            f"each of the {schedule.stages} stages takes {schedule.devices}/{schedule.stages} of the given times: "
            "the same model, cut finer than one stage a device"
        )
    measured = profile.sizes
    missing = sorted({size for size in sizes if size not in measured})
    if missing and profile.per_stage:
        found.append("costs are proportional to the micro-batch's share that an action processes")
    elif missing:
        shown = ", ".join(f"{size:g}" for size in missing)
        inside = measured and measured[0] < missing[0] and missing[-1] < measured[-1]
        rule = "interpolated" if inside else "extrapolated"
        known = ", ".join(map(str, measured))
        found.append(f"costs at micro-batch size {shown} are {rule} linearly from sizes {known}")
    return tuple(found)
