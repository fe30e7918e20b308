"""The setting of a run: what is trained, how it is laid out over ranks, and how it is run.

`Work` and `Layout` are all that a prediction depends on; `Run` is what only a real run needs to know.
"""

from __future__ import annotations

__all__ = [
    "PRECISIONS",
    "STATE_BYTES",
    "Compute",
    "Layout",
    "Optimizer",
    "Precision",
    "Run",
    "Setting",
    "Work",
]

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.grid import AXES, Grid
from chimera.pipeline.learning_rate import LearningRate
from chimera.pipeline.models import ModelConfig, config_dict, layers, model_config
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedule import Recompute, Schedule, Sync
from chimera.pipeline.units import FLOAT32_BYTES

STATE_BYTES = {"adamw": 8.0, "sgd": 0.0}
"""bytes of optimizer state a float32 parameter, by optimizer; SGD's momentum comes on top"""
Precision = Literal["float32", "float64", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Compute = Literal["real", "paced"]
"""Whether stages compute, or sleep for given costs."""
_WEIGHT_BYTES: dict[str, int] = {"float32": FLOAT32_BYTES, "float64": 8, "bf16": FLOAT32_BYTES}


@dataclass(frozen=True, slots=True)
class Optimizer:
    """How weights are updated; `warmup` and `decay` are those of a `LearningRate`."""

    name: str = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    decay: str = "constant"
    warmup: int = 0
    clip_norm: float | None = None
    """the largest global norm of the gradients; None: whatever it is"""

    def check(self) -> None:
        """Raises UnknownNameError for another optimizer, InputError for momentum that it has not."""
        if self.name not in STATE_BYTES:
            raise UnknownNameError("optimizer", self.name, STATE_BYTES)
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum {self.momentum}", "lets old gradients grow", "give 0 or more, below 1")
        if self.momentum and self.name != "sgd":
            derived = "which has moments of its own"
            raise InputError(f"momentum {self.momentum} with {self.name}", derived, "use sgd, or drop the momentum")

    def rate(self, steps: int | None) -> LearningRate:
        """The learning rate of every one of so many steps (None: as many as there is time for).

        Raises as LearningRate does, and InputError for a decay that would not know where to end.
        """
        if steps is None and self.decay != "constant":
            raise InputError(f"a {self.decay} decay without steps", "it would not know where to end", "give --steps")
        return LearningRate(self.learning_rate, self.decay, self.warmup, self.rate_steps(steps))

    def rate_steps(self, steps: int | None) -> int:
        """The steps over which the rate decays; 0 where it is constant."""
        return 0 if self.decay == "constant" else steps or 0

    @property
    def state_copies(self) -> int:
        """How many numbers are kept for each parameter, beside it and its gradient."""
        return int(STATE_BYTES[self.name]) // FLOAT32_BYTES + (self.momentum > 0)


@dataclass(frozen=True, slots=True)
class Work:
    """What is trained. `recompute` of None is as the schedule says itself."""

    model: ModelConfig
    precision: str = "float32"
    optimizer: Optimizer = Optimizer()
    recompute: Recompute | None = None

    @property
    def sequence(self) -> int | None:
        """Tokens of a sample; None for a model that takes no sequences."""
        return getattr(self.model, "sequence", None)

    @property
    def weight_bytes(self) -> int:
        """Bytes of one parameter, and of one number of its gradient and optimizer state."""
        return _WEIGHT_BYTES.get(self.precision, FLOAT32_BYTES)

    def check(self) -> None:
        """Raises InputError, or UnknownNameError, for an optimizer or a precision that there is not.

        Stages that recompute are the schedule's; here they would be passed over, and are refused.
        """
        self.optimizer.check()
        if self.recompute is not None:
            raise InputError(
                f"recompute {self.recompute} in a setting", "only a schedule says it yet", "build it with recompute="
            )
        if self.precision not in PRECISIONS:
            raise UnknownNameError("precision", self.precision, PRECISIONS)


@dataclass(frozen=True, slots=True)
class Layout:
    """How work is laid out: a grid of ranks, samples in a micro-batch (B), micro-batches of each copy (N).

    `partitions` hold at most one for each number of stages; with other numbers of stages the model is cut by
    default. `sync` of None is as the schedule says itself.
    """

    grid: Grid
    microbatch_size: int
    microbatches: int = 1
    partitions: tuple[Partition, ...] = ()
    optimizer_shards: int = 0
    sync: Sync | None = None

    @property
    def samples(self) -> int:
        """Samples of an iteration over all copies: B x N x W."""
        return self.microbatch_size * self.microbatches * self.grid.width

    def partition(self, stages: int) -> Partition | None:
        """The partition into so many stages; None: the default one."""
        return next((each for each in self.partitions if each.stages == stages), None)

    def of(self, schedule: Schedule) -> Layout:
        """The same for one schedule: on its devices, with its micro-batches."""
        grid = replace(self.grid, devices=schedule.devices)
        return replace(self, grid=grid, microbatches=schedule.microbatches)

    def over(self, schedules: Iterable[Schedule]) -> Layout:
        """The same on as many devices as the widest of these schedules needs."""
        return replace(self, grid=replace(self.grid, devices=max(each.devices for each in schedules)))

    def check(self) -> None:
        """Raises InputError for a micro-batch of nothing, and for what cannot be executed yet.

        That are shards, tensor parts, another order of ranks, and a synchronisation that is not the schedule's own.
        """
        if self.microbatch_size < 1:
            given = f"micro-batch size {self.microbatch_size}"
            raise InputError(given, "leaves nothing to compute", "give 1 or more samples")
        if self.optimizer_shards:
            given = f"optimizer shards {self.optimizer_shards}"
            raise InputError(given, "no optimizer is sharded yet", "give 0")
        if self.grid.tensor > 1 or self.grid.order != AXES:
            raise InputError(f"{self.grid!r}", "only whole devices in the default order are run yet", "give Grid(D, W)")
        if self.sync is not None:
            raise InputError(f"sync {self.sync} in a setting", "only a schedule says it yet", "build it with sync=")


@dataclass(frozen=True, slots=True)
class Run:
    """How it is run. `steps` of None goes on for `seconds`; `data` is empty for the model family's own."""

    data: str = ""
    data_dir: str | None = None
    seed: int = 0
    steps: int | None = 10
    seconds: float | None = None
    device: str = "cpu"
    backend: str = "gloo"
    compute: str = "real"
    checkpoint_every: int = 0
    resume: bool = False

    def check(self) -> None:
        """Raises InputError for a run without an end, UnknownNameError for another way to compute."""
        if self.steps is None and self.seconds is None:
            raise InputError("neither steps nor seconds", "training would never end", "give --steps or --seconds")
        if self.compute not in get_args(Compute):
            raise UnknownNameError("compute", self.compute, get_args(Compute))
        if self.backend != "gloo":
            raise InputError(
                f"backend {self.backend!r}", "the device chooses it: gloo, and NCCL on GPUs", "leave it out"
            )


@dataclass(frozen=True)
class Setting:
    """Everything but the schedule that a run is told: equal, and hashed, by content.

    Made by hand of its three parts, or in one go by `Setting.of`.
    """

    work: Work
    layout: Layout
    run: Run = field(default=Run())

    @classmethod
    def of(
        cls,
        model: str | Mapping[str, object] | ModelConfig,
        *,
        stages: int,
        microbatch_size: int,
        microbatches: int = 1,
        width: int = 1,
        partition: Partition | None = None,
        **run: Any,
    ) -> Setting:
        """The setting of a model with its usual optimizer in float32; `run` are fields of `Run`.

        Raises UnknownNameError for a model that is not shipped, InputError for sizes below 1.
        """
        partitions = () if partition is None else (partition,)
        layout = Layout(Grid(stages, width), microbatch_size, microbatches, partitions)
        return cls(Work(model_config(model)), layout, Run(**run))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Setting:
        """The setting that `document` wrote."""
        work, layout = dict(document["work"]), dict(document["layout"])
        recompute = work["recompute"]
        work |= {"model": model_config(work["model"]), "optimizer": Optimizer(**work["optimizer"])}
        work["recompute"] = tuple(recompute) if isinstance(recompute, list) else recompute
        layout["grid"] = Grid.from_document(layout["grid"])
        layout["partitions"] = tuple(Partition(tuple(counts)) for counts in layout["partitions"])
        return cls(Work(**work), Layout(**layout), Run(**document["run"]))

    def document(self) -> dict[str, Any]:
        """The setting as a JSON-able dict."""
        work, layout = self.work, self.layout
        recompute = list(work.recompute) if isinstance(work.recompute, tuple) else work.recompute
        return {
            "work": {
                "model": config_dict(work.model),
                "precision": work.precision,
                "optimizer": asdict(work.optimizer),
                "recompute": recompute,
            },
            "layout": {
                "grid": layout.grid.document(),
                "microbatch_size": layout.microbatch_size,
                "microbatches": layout.microbatches,
                "partitions": [list(each) for each in layout.partitions],
                "optimizer_shards": layout.optimizer_shards,
                "sync": layout.sync,
            },
            "run": asdict(self.run),
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, the same in every process."""
        return hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        grid, layout = self.layout.grid, self.layout
        sizes = f"D={grid.devices} W={grid.width} B={layout.microbatch_size} N={layout.microbatches}"
        return f"<Setting {self.work.model.name} {sizes}, {self.work.precision}, {self.run.compute}>"

    @property
    def ranks(self) -> int:
        """How many processes it takes."""
        return self.layout.grid.gpus

    @property
    def samples(self) -> int:
        """Samples of an iteration over all copies of the pipeline."""
        return self.layout.samples

    def of_schedule(self, schedule: Schedule) -> Setting:
        """The same for one schedule: on its devices, with its micro-batches."""
        return replace(self, layout=self.layout.of(schedule))

    def partition(self, stages: int) -> Partition:
        """The layers of so many stages; InputError where the model has fewer, or others."""
        return Partition.of_model(self.work.model, stages, self.layout.partition(stages))

    def gradient_bytes(self, stages: int) -> tuple[int, ...]:
        """Bytes of the gradients of each of so many stages."""
        described = layers(self.work.model)
        parts = self.partition(stages).ranges
        return tuple(self.work.weight_bytes * sum(described[index].parameters for index in part) for part in parts)

    def boundary_bytes(self, stages: int) -> tuple[int, ...]:
        """Bytes of a message between each of so many stages and the next, for a whole micro-batch, in float32."""
        described = layers(self.work.model)
        outputs = [described[part[-1]].boundary_elements for part in self.partition(stages).ranges[:-1]]
        return tuple(FLOAT32_BYTES * self.layout.microbatch_size * elements for elements in outputs)

    def check(self, stages: Iterable[int] = ()) -> None:
        """Raises InputError, or UnknownNameError, for what does not fit together, cut into these numbers of stages."""
        for depth in stages:
            self.partition(depth)
        self.run.check()
        self.work.check()
        self.work.optimizer.rate(self.run.steps)
        self.layout.check()
