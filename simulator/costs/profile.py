"""A cost profile: what a model's layers cost on a machine, and what everything around them costs.

Times are integer nanoseconds and sizes integer bytes. The annotations (`Count`, `Spread` ...) state
the ranges; `chimera.simulator.costs.profile_file` enforces them where a file is read.
"""

from __future__ import annotations

__all__ = [
    "Algorithm",
    "AllReduceCost",
    "CostSource",
    "Jitter",
    "LayerCost",
    "LinkClass",
    "LinkCost",
    "Locality",
    "MeasuredReduce",
    "OptimizerCost",
    "Overheads",
    "Precision",
    "Profile",
    "SizeCost",
    "SlowLink",
    "Topology",
    "require_profile",
]

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import index
from typing import Annotated, Any, SupportsIndex

from annotated_types import Ge, Gt, Le, MinLen

from chimera.pipeline.content import Content, FrozenDict
from chimera.pipeline.errors import InputError
from chimera.pipeline.rules import Context
from chimera.pipeline.showing import Record, records_table, show_line
from chimera.pipeline.units import parse_ns
from chimera.simulator.costs.layer_costs import CostSource, LayerCost, Precision, SizeCost, Spread
from chimera.simulator.costs.network_costs import (
    Algorithm,
    AllReduceCost,
    Count,
    Factor,
    LinkClass,
    LinkCost,
    MeasuredReduce,
    SlowLink,
    Topology,
)


@dataclass(frozen=True, slots=True)
class OptimizerCost:
    """The optimizer step of a stage: constant + parameters x ns; and what it keeps per parameter."""

    constant_ns: Count = 0
    ns_per_parameter: Annotated[float, Ge(0)] = 0.0
    state_bytes_per_parameter: Annotated[float, Ge(0)] = 0.0
    gradient_bytes_per_parameter: Annotated[float, Ge(0)] = 4.0
    gradients_persist: bool = True
    """whether gradient buffers live through the whole iteration or from the first backward on"""


@dataclass(frozen=True, slots=True)
class Overheads:
    """Costs that belong to no layer.

    `dispatch_ns` is host time before every compute action, outside its span; the forward and
    backward overheads are corrections inside it (from a pipelined calibration; may be negative).
    An overlapped pair takes `overlap_factor` x (F + B). `iteration_ns` ends every iteration.
    """

    dispatch_ns: Count = 0
    forward_overhead_ns: int = 0
    backward_overhead_ns: int = 0
    overlap_factor: Annotated[float, Gt(0)] = 1.0
    iteration_ns: Count = 0


@dataclass(frozen=True, slots=True)
class Locality:
    """Factors on a computation by what its device computed before it, and by what it prepares.

    A forward after a backward writes into memory that was just freed; a backward right after its own
    forward finds its activations still in the cache. On CPUs both run faster than the same work on
    memory not touched for long (GPipe's forwards, say). A weight gradient that does not follow its own
    input gradient, nor another weight gradient, finds its operands evicted. A forward whose backward comes in two parts
    arranges for that in every layer, which costs host time. 1 means no difference.

    Where a stage recomputes, forwards keep their input only, and backwards take a forward on top; what
    arranging for that costs beyond it are the two factors of recomputation.

    The cold factors are those of a device's first, second ... forward (backward, whole or for inputs) of a
    stage in an iteration: what else was done between iterations has taken weights and buffers out of the
    cache. Those beyond the list are warm.
    """

    forward_after_backward: Annotated[float, Gt(0)] = 1.0
    backward_after_own_forward: Annotated[float, Gt(0)] = 1.0
    forward_for_split: Annotated[float, Gt(0)] = 1.0
    cold_forwards: tuple[Annotated[float, Gt(0)], ...] = ()
    cold_backwards: tuple[Annotated[float, Gt(0)], ...] = ()
    forward_for_recomputation: Annotated[float, Gt(0)] = 1.0
    backward_with_recomputation: Annotated[float, Gt(0)] = 1.0
    weight_after_another: Annotated[float, Gt(0)] = 1.0

    def factor(self, context: Context) -> float:
        """The factor on a computation in this context (see `chimera.pipeline.rules.context_of`)."""
        return {
            "fresh": 1.0,
            "after-backward": self.forward_after_backward,
            "own-forward": self.backward_after_own_forward,
            "after-another": self.weight_after_another,
        }[context]

    @property
    def least(self) -> float:
        """The smallest factor that any order of actions can earn."""
        orders = min(1.0, self.forward_after_backward, self.backward_after_own_forward, self.weight_after_another)
        arranged = min(1.0, self.forward_for_split) * min(
            1.0, self.forward_for_recomputation, self.backward_with_recomputation
        )
        return arranged * orders * min((1.0, *self.cold_forwards, *self.cold_backwards))


@dataclass(frozen=True, slots=True)
class Jitter:
    """How durations vary. `action_quantiles` are evenly spaced quantiles, minimum to maximum, of
    the relative residual (duration / expected - 1) of an action; without them a log-normal of the
    layers' spread is drawn. `iteration_spread` and `device_spread` are log-normal factors drawn
    for every iteration (drift of the machine) and for every device in it. Messages, all-reduces and
    optimizer steps have a log-normal factor each. In every iteration a device is, with
    `straggler_probability`, a straggler that takes `straggler_factor` times as long. In every second of
    computing there are `stalls_per_s`: something else had the core, or what was waited for came late. A
    computation that stalls takes a time longer that is exponentially distributed around `stall_ns`.
    `run_spread` is what all iterations of a run share and predictions are off by: as one iteration
    stands for a run of its own, it is a log-normal factor of every iteration.
    """

    action_quantiles: tuple[Annotated[float, Gt(-1)], ...] = ()
    device_spread: Spread = 0.0
    iteration_spread: Spread = 0.0
    message_spread: Spread = 0.0
    all_reduce_spread: Spread = 0.0
    optimizer_spread: Spread = 0.0
    straggler_probability: Annotated[float, Ge(0), Le(1)] = 0.0
    straggler_factor: Factor = 1.0
    stalls_per_s: Annotated[float, Ge(0)] = 0.0
    stall_ns: Count = 0
    run_spread: Spread = 0.0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Profile(Content):
    """What a model's layers and their surroundings cost on one machine, and where that comes from.

    `model` is a config as `chimera.pipeline.models.config_dict` writes it, or None. With `per_stage` the
    single layer stands for a device's share of the model, at whatever depth and micro-batch size.
    """

    name: str
    layers: Annotated[tuple[LayerCost, ...], MinLen(1)]
    model: Mapping[str, Any] | None = None
    per_stage: bool = False
    partition: tuple[Annotated[int, Ge(1)], ...] | None = None
    """layers per stage, for schedules of that many stages; otherwise a balanced partition"""
    input_bytes_per_sample: Count = 0
    links: Mapping[LinkClass, LinkCost] = field(default_factory=dict)
    topology: Topology = field(default_factory=Topology)
    all_reduce: AllReduceCost = field(default_factory=AllReduceCost)
    optimizer: OptimizerCost = field(default_factory=OptimizerCost)
    overheads: Overheads = field(default_factory=Overheads)
    locality: Locality = field(default_factory=Locality)
    framework_bytes: Count = 0
    jitter: Jitter = field(default_factory=Jitter)
    cores: Annotated[int, Ge(1)] | None = None
    """cores that all devices of one host share; None: every device has its own"""
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """where it comes from, and when; no part of what it says"""

    def __post_init__(self) -> None:
        for name in ("model", "links", "provenance"):
            if isinstance(given := getattr(self, name), Mapping):
                object.__setattr__(self, name, FrozenDict(given))

    @classmethod
    def uniform(
        cls,
        forward: str | int = "1ms",
        backward: str | int | None = None,
        *,
        backward_input: str | int | None = None,
        backward_weight: str | int | None = None,
        p2p: str | int = "0ms",
    ) -> Profile:
        """Equal stages, for unit studies; durations with units ("1ms") or integer nanoseconds.

        `p2p` is a pure latency on every edge between different devices: the sender is not held and
        messages do not queue. A micro-batch costs the same whatever its size. Without any backward
        it takes twice the forward. Raises InputError for one half without the other, for a duration
        without a unit (a float could be seconds or milliseconds) and for a negative one.
        """
        if (backward_input is None) != (backward_weight is None):
            raise InputError(
                "backward input and backward weight", "only one of the two is given", "give both, or --backward alone"
            )
        if backward is None and backward_input is None:
            backward = 2 * _ns("forward", forward)
        cost = SizeCost(
            microbatch_size=1,
            forward_ns=_ns("forward", forward),
            backward_ns=None if backward is None else _ns("backward", backward),
            backward_input_ns=None if backward_input is None else _ns("backward_input", backward_input),
            backward_weight_ns=None if backward_weight is None else _ns("backward_weight", backward_weight),
        )
        link = LinkCost(latency_ns=_ns("p2p", p2p), queueing=False)
        return cls("uniform", (LayerCost("stage", (cost,)),), per_stage=True, links={"local": link})

    @property
    def sizes(self) -> tuple[int, ...]:
        """The micro-batch sizes measured for every layer, ascending."""
        common = set.intersection(*({cost.microbatch_size for cost in layer.undivided} for layer in self.layers))
        return tuple(sorted(common))

    def __repr__(self) -> str:
        layers = sum(layer.repeat for layer in self.layers)
        pieces = "one layer a stage" if self.per_stage else f"{layers} layers"
        return show_line("Profile", self.name, [pieces, f"micro-batch sizes {' '.join(map(str, self.sizes))}"])

    def _repr_html_(self) -> str:
        return records_table(f"Profile {self.name}", self.records())

    def records(self) -> list[Record]:
        """One for each layer and each size that it was measured at."""
        named: Record = {"profile": self.name}
        return [named | record for layer in self.layers for record in layer.records()]


def require_profile(value: object) -> Profile:
    """The value, if it is a profile; InputError with what to do for anything else, a name above all."""
    if isinstance(value, Profile):
        return value
    if isinstance(value, str):
        remedy = f"load it first: load_profile({value!r})"
        raise InputError(f"profile {value!r}", "is a name, not a profile", remedy)
    remedy = "give what load_profile or Profile.uniform returns"
    raise InputError(f"profile of type {type(value).__name__}", "is not a profile", remedy)


def _ns(name: str, duration: object) -> int:
    """Nanoseconds of text with a unit, or of a whole number of them."""
    if isinstance(duration, str):
        return parse_ns(duration)
    if isinstance(duration, bool) or not isinstance(duration, SupportsIndex):
        remedy = f"write it as text, such as {name}='1ms', or whole nanoseconds"
        raise InputError(f"{name} = {duration!r}", "has no unit", remedy)
    if (nanoseconds := index(duration)) < 0:
        raise InputError(f"{name} = {nanoseconds} ns", "is negative", "give a duration of zero or more")
    return nanoseconds
